use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const A: Worker = (1, 10);
const B: Worker = (2, 11);

fn limits() -> Limits {
    Limits {
        history: HistoryLimit { count: 4, ttl_ms: 10_000 },
        idle: Duration::from_mins(1),
        grace: Duration::from_secs(5),
        ..Limits::default()
    }
}

fn member(id: &str) -> Member {
    Member { id: id.into(), info: b"{}".as_slice().into() }
}

fn publish(core: &mut Core, name: &str, number: u64, now: Instant) -> Published {
    core.publish(name, number.to_string().into_bytes().into(), None, now, 0.0)
}

fn exact(name: &str) -> Pattern {
    Pattern::Exact(name.into())
}

#[test]
fn one_message_a_worker_however_it_subscribed() {
    let (mut core, now) = (Core::new(limits(), 1), Instant::now());
    core.subscribe(A, exact("chat:1"), None, now).unwrap();
    core.subscribe(A, Pattern::parse("chat:*").unwrap(), None, now).unwrap();
    core.subscribe(A, Pattern::parse("*").unwrap(), None, now).unwrap();
    core.subscribe(B, Pattern::parse("ch*").unwrap(), None, now).unwrap();
    assert_eq!(publish(&mut core, "chat:1", 1, now).to.as_slice(), [A, B]);
    assert_eq!(publish(&mut core, "é", 1, now).to.as_slice(), [A]);
    core.unsubscribe(B, &Pattern::parse("ch*").unwrap(), now);
    assert_eq!(publish(&mut core, "chat:1", 2, now).to.as_slice(), [A]);
    core.gone(A, now);
    core.gone(B, now);
    assert_eq!(publish(&mut core, "chat:1", 3, now).to.as_slice(), []);
    assert!(core.lengths.is_empty() && core.prefixes.is_empty() && core.workers.is_empty());
}

#[test]
fn presence_does_not_flap() {
    let (mut core, now) = (Core::new(limits(), 1), Instant::now());
    let second = Duration::from_secs(1);
    core.watch(B, "room", true, now);
    let joined = |notices: Vec<Notice>| matches!(notices.as_slice(), [Notice { message: EventsFromHub::Joined { .. }, .. }]);
    assert!(joined(core.enter((A, 1), "room", member("ann"), false, now).unwrap()));
    assert_eq!(core.enter((A, 2), "room", member("ann"), false, now), Ok(vec![]));
    assert_eq!(core.leave((A, 1), "room", false, now), None, "another subscriber of hers is there");
    assert_eq!(core.gone(A, now), []);
    assert_eq!(core.enter((B, 1), "room", member("ann"), false, now + second), Ok(vec![]), "she was never away");
    assert_eq!(core.pass(now + 10 * second), []);
    assert_eq!(core.leave((B, 1), "room", true, now + 10 * second), None);
    let left = core.pass(now + 16 * second);
    assert!(matches!(left.as_slice(), [Notice { message: EventsFromHub::Left { .. }, .. }]), "{left:?}");
    assert_eq!(left[0].to.as_slice(), [B]);
    assert!(joined(core.enter((B, 1), "room", member("bob"), false, now).unwrap()));
    assert_eq!(core.enter((B, 1), "room", member("cid"), false, now).unwrap().len(), 2, "one left, one came");
    assert_eq!(core.enter((B, 2), "room", member("dan"), true, now), Ok(vec![]), "told before");
    assert!(core.leave((B, 1), "room", false, now).is_some());
}

#[test]
fn what_nobody_uses_is_forgotten_and_told() {
    let (mut core, now) = (Core::new(limits(), 1), Instant::now());
    let place = publish(&mut core, "a", 1, now).position;
    core.subscribe(A, exact("kept"), None, now).unwrap();
    let kept = publish(&mut core, "kept", 1, now).position;
    let later = now + Duration::from_secs(100);
    assert_eq!(core.pass(now + Duration::from_secs(11)), []);
    assert_eq!(core.pass(later), []);
    assert_eq!(core.topics(), 1);
    let again = core.subscribe(A, exact("a"), Some(place), later).unwrap();
    assert!(!again.recovered && again.position.is_some_and(|position| position.epoch != place.epoch && position.offset == 0));
    let still = core.subscribe(B, exact("kept"), Some(kept), later).unwrap();
    assert!(still.recovered && still.events.is_empty(), "nothing was missed, though the event is gone");
}

#[test]
fn memory_is_bounded() {
    let now = Instant::now();
    let mut core = Core::new(Limits { memory: 100_000, ..limits() }, 1);
    core.subscribe(A, exact("used"), None, now).unwrap();
    let used = core.publish("used", vec![b'0'; 50_000].into(), None, now, 0.0).position;
    for number in 0..2000 {
        core.publish(&format!("t{number}"), vec![b'0'; 1000].into(), None, now, 0.0);
        assert!(core.bytes() <= 160_000, "{}", core.bytes());
    }
    assert!(core.topics() < 100);
    let back = core.subscribe(B, exact("used"), Some(Position { offset: 0, ..used }), now).unwrap();
    assert!(!back.recovered && back.position == Some(used), "its past is forgotten, its end is not");
    assert_eq!(core.answer(&Question::Info("t0".into()), now), EventsAnswer::Info(None));
}

/// What one subscriber knows, to be compared with everything that was published.
#[derive(Default)]
struct Reader {
    position: Option<Position>,
    /// The data of what it got in this epoch, and where it began.
    seen: Vec<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8, Option<(u32, u64)>),
    Recover(u8),
    Wait(u64),
    Restart,
    Ask(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let limit = prop::option::weighted(0.2, (0_u32..6, 1_u64..20_000));
    let step = prop_oneof![
        6 => (0..4_u8, limit).prop_map(|(topic, limit)| Step::Publish(topic, limit)),
        4 => (0..4_u8).prop_map(Step::Recover),
        2 => (0..30_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => (0..4_u8).prop_map(Step::Ask),
    ];
    prop::collection::vec(step, 1..200)
}

fn books_are_right(core: &Core) {
    assert_eq!(core.order.len(), core.topics.len());
    assert_eq!(core.bytes, core.topics.values().map(Topic::cost).sum::<usize>());
    assert_eq!(core.due.len(), core.topics.values().filter(|topic| topic.due.is_some()).count());
    for topic in core.topics.values() {
        assert!(topic.is_used() || topic.due.is_some(), "{}: nobody would look at it again", topic.name);
        assert!(topic.kept() <= topic.limit.count as usize);
    }
}

proptest! {
    /// Offsets grow by one, epochs are never used again, and a recovery is complete or says that it is not: against a list of everything.
    #[test]
    fn recovery_is_complete_or_told(steps in steps(), memory in prop_oneof![Just(3_000_usize), Just(1 << 20)], seed: u64) {
        let limits = Limits { memory, ..limits() };
        let (mut core, mut now, mut restarts) = (Core::new(limits, seed), Instant::now(), 0);
        let mut published: BTreeMap<(String, u64), Vec<u64>> = BTreeMap::new();
        let mut readers: BTreeMap<String, Reader> = BTreeMap::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Publish(topic, limit) => {
                    number += 1;
                    let name = format!("topic {topic}");
                    let history = limit.map(|(count, ttl_ms)| HistoryLimit { count, ttl_ms });
                    let place = core.publish(&name, number.to_string().into_bytes().into(), history, now, 0.0).position;
                    let life = published.entry((name, place.epoch)).or_default();
                    life.push(number);
                    prop_assert_eq!(place.offset, life.len() as u64);
                }
                Step::Recover(topic) => {
                    let name = format!("topic {topic}");
                    let reader = readers.entry(name.clone()).or_default();
                    let result = core.subscribe(A, exact(&name), reader.position, now).unwrap();
                    let end = result.position.unwrap();
                    if result.recovered {
                        reader.seen.extend(result.events.iter().map(|event| std::str::from_utf8(&event.data.0).unwrap().parse::<u64>().unwrap()));
                        let all = published.get(&(name.clone(), end.epoch)).map_or(&[][..], Vec::as_slice);
                        prop_assert!(all.ends_with(&reader.seen) && all.len() as u64 == end.offset);
                    } else {
                        prop_assert!(result.events.is_empty());
                        reader.seen.clear();
                    }
                    reader.position = Some(end);
                    core.unsubscribe(A, &exact(&name), now);
                }
                Step::Wait(milliseconds) => {
                    now += Duration::from_millis(milliseconds);
                    core.pass(now);
                    prop_assert!(core.next().is_none_or(|next| next > now));
                }
                Step::Restart => {
                    restarts += 1;
                    core = Core::new(limits, seed.wrapping_add(restarts));
                }
                Step::Ask(topic) => {
                    let question = Question::History { topic: format!("topic {topic}"), since: None, limit: 2 };
                    let before = core.topics();
                    let EventsAnswer::History { events, position, .. } = core.answer(&question, now) else { panic!("another answer") };
                    prop_assert!(events.len() <= 2 && events.last().is_none_or(|last| Some(last.offset) == position.map(|p| p.offset)));
                    prop_assert!(core.topics() <= before);
                }
            }
            books_are_right(&core);
        }
    }
}
