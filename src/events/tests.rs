use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::core::{Core, Limits, Worker};
use super::*;
use crate::link::events::{Blob, EventsFromHub};
use crate::link::{FromHub, Port, ToHub};
use crate::reactor::{Scope, run, timeout, yield_now};
use crate::sys::channel::Channel;

const LIMIT: Duration = Duration::from_secs(5);

/// A hub for some workers: the core at the other ends of their links.
struct TestHub {
    core: RefCell<Core>,
    ports: RefCell<Vec<Rc<Port>>>,
    events: Cell<usize>,
    /// Subscriptions wait, as they do while their topics are read from elsewhere.
    busy: Cell<bool>,
    waiting: RefCell<Vec<(Worker, EventsToHub)>>,
    scope: Scope,
}

impl TestHub {
    fn new(seed: u64) -> Rc<Self> {
        let core = RefCell::new(Core::new(Limits { grace: Duration::from_millis(50), ..Limits::default() }, seed));
        Rc::new(Self {
            core,
            ports: RefCell::default(),
            events: Cell::new(0),
            busy: Cell::new(false),
            waiting: RefCell::default(),
            scope: Scope::new(),
        })
    }

    fn connect(self: &Rc<Self>, link: &Rc<HubLink>) {
        let (ours, hubs) = Channel::pair().unwrap();
        link.connect(ours).unwrap();
        let port = Port::new(hubs).unwrap();
        let worker: Worker = (self.ports.borrow().len(), 1);
        self.ports.borrow_mut().push(port.clone());
        let hub = Rc::downgrade(self);
        self.scope.spawn(async move {
            while let Ok((body, _)) = port.receive().await {
                let Some(hub) = hub.upgrade() else { return };
                let ToHub::Events(message) = postcard::from_bytes(&body).unwrap() else { continue };
                if hub.busy.get() && matches!(message, EventsToHub::Subscribe { .. }) {
                    hub.waiting.borrow_mut().push((worker, message));
                } else {
                    hub.take(worker, message);
                }
            }
        });
    }

    fn take(&self, worker: Worker, message: EventsToHub) {
        let mut notices = Vec::new();
        self.core.borrow_mut().take(worker, message, reactor::now(), 7.5, &mut notices);
        for notice in notices {
            for (number, _) in notice.to {
                self.tell(number, notice.message.clone());
            }
        }
    }

    fn go_on(&self) {
        self.busy.set(false);
        self.waiting.take().into_iter().for_each(|(worker, message)| self.take(worker, message));
    }

    fn tell(&self, number: usize, message: EventsFromHub) {
        self.events.set(self.events.get() + usize::from(matches!(message, EventsFromHub::Event { .. })));
        self.ports.borrow()[number].post(&postcard::to_stdvec(&FromHub::Events(message)).unwrap()).unwrap();
    }
}

fn worker(hub: &Rc<TestHub>) -> (Rc<Events>, Rc<HubLink>) {
    let link = HubLink::new();
    let events = Events::of_worker(&link, None);
    hub.connect(&link);
    (events, link)
}

async fn next(subscription: &mut Subscription) -> Delivery {
    timeout(LIMIT, subscription.next()).await.expect("in time").expect("not ended")
}

async fn ready(subscription: &mut Subscription) -> (Option<Position>, Option<bool>) {
    match next(subscription).await {
        Delivery::Ready { position, recovered } => (position, recovered),
        other => panic!("{other:?}"),
    }
}

async fn event(subscription: &mut Subscription) -> Rc<Event> {
    match next(subscription).await {
        Delivery::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn publish(events: &Events, topic: &str, number: u64) -> Position {
    events.publish(topic, number.to_string().into(), None).unwrap().await.unwrap()
}

fn recover(position: Position) -> Options {
    Options { recover: Some(position), ..Options::default() }
}

#[test]
fn a_publication_crosses_once_and_is_shared() {
    run(async {
        let hub = TestHub::new(1);
        let ((one, _one), (two, _two)) = (worker(&hub), worker(&hub));
        let mut all = Vec::new();
        for pattern in ["news", "news", "ne*", "*"] {
            all.push(two.subscribe(pattern, Options::default()).unwrap());
        }
        for subscription in &mut all {
            ready(subscription).await;
        }
        let place = publish(&one, "news", 5).await;
        let mut shared = Vec::new();
        for subscription in &mut all {
            shared.push(event(subscription).await);
        }
        assert_eq!(hub.events.get(), 1);
        assert!(shared.iter().all(|event| Rc::ptr_eq(event, &shared[0])));
        assert_eq!((shared[0].position, &*shared[0].topic, &*shared[0].data, shared[0].at), (place, "news", b"5".as_slice(), 7.5));
        let made = Cell::new(0);
        for event in &shared {
            let frame = event.encoded("frame", |event| {
                made.set(made.get() + 1);
                event.data.clone()
            });
            assert_eq!(&*frame, b"5");
        }
        assert_eq!(made.get(), 1);
        drop(all);
        publish(&two, "news", 6).await;
        publish(&one, "news", 7).await;
        assert_eq!(hub.events.get(), 1, "nobody is subscribed any more");
    })
    .unwrap();
}

#[test]
fn recovery_joins_what_is_live_without_a_seam() {
    run(async {
        let hub = TestHub::new(1);
        let ((one, _one), (two, _two)) = (worker(&hub), worker(&hub));
        let first = publish(&one, "t", 1).await;
        for number in 2..=50 {
            one.post("t", number.to_string().into(), None).unwrap();
        }
        let mut early = two.subscribe("t", recover(first)).unwrap();
        for number in 51..=100 {
            one.post("t", number.to_string().into(), None).unwrap();
            if number % 10 == 0 {
                yield_now().await;
            }
        }
        let mut late = two.subscribe("t", recover(first)).unwrap();
        for subscription in [&mut early, &mut late] {
            assert_eq!(ready(subscription).await.1, Some(true));
            for number in 2..=100 {
                let event = event(subscription).await;
                assert_eq!((event.position.offset, &*event.data), (number, number.to_string().as_bytes()));
            }
        }
        let mut told = two.subscribe("t", recover(Position { epoch: first.epoch ^ 1, offset: 1 })).unwrap();
        assert_eq!(ready(&mut told).await.1, Some(false));
        assert!(early.try_next().is_none() && late.try_next().is_none() && told.try_next().is_none());
    })
    .unwrap();
}

#[test]
fn who_watches_misses_nobody_while_the_subscription_is_made() {
    run(async {
        let hub = TestHub::new(1);
        let ((one, _one), (two, _two)) = (worker(&hub), worker(&hub));
        hub.busy.set(true);
        let mut watcher = one.subscribe("t", Options { watch: true, ..Options::default() }).unwrap();
        assert!(one.presence("t").await.unwrap().is_empty());
        let member = Member { id: "bob".to_owned(), info: Blob::default() };
        let _bob = two.subscribe("t", Options { presence: Some(member), ..Options::default() }).unwrap();
        assert!(matches!(next(&mut watcher).await, Delivery::Joined(presence) if presence.member.id == "bob"));
        hub.go_on();
        ready(&mut watcher).await;
    })
    .unwrap();
}

#[test]
fn subscribers_outlive_the_hub_and_are_told() {
    run(async {
        let hub = TestHub::new(1);
        let (events, link) = worker(&hub);
        let mut exact = events
            .subscribe("t", Options { presence: Some(Member { id: "ann".into(), info: Blob::default() }), ..Options::default() })
            .unwrap();
        let mut prefix = events.subscribe("t*", Options::default()).unwrap();
        ready(&mut exact).await;
        ready(&mut prefix).await;
        publish(&events, "t", 1).await;
        event(&mut exact).await;
        event(&mut prefix).await;
        let unanswered = events.publish("t", "2".into(), None).unwrap();
        drop(hub);
        assert_eq!(timeout(LIMIT, unanswered).await.unwrap(), Err(EventsError::Lost));
        assert!(!link.is_connected());
        // Without a hub: publications wait, subscribers come and go.
        let waiting = events.publish("t", "3".into(), None).unwrap();
        let mut newcomer = events.subscribe("t", Options::default()).unwrap();
        drop(events.subscribe("gone", Options::default()).unwrap());
        let hub = TestHub::new(2);
        hub.connect(&link);
        let place = timeout(LIMIT, waiting).await.unwrap().unwrap();
        assert_eq!(place.offset, 1);
        let Delivery::Gap { topic: Some(_), position: Some(position) } = next(&mut exact).await else { panic!("no gap") };
        assert_eq!((position.epoch, position.offset), (place.epoch, 0));
        assert!(matches!(next(&mut prefix).await, Delivery::Gap { topic: None, .. }));
        assert_eq!(ready(&mut newcomer).await.0, Some(position));
        for subscription in [&mut exact, &mut prefix, &mut newcomer] {
            assert_eq!(event(subscription).await.position, place);
        }
        assert_eq!(events.presence("t").await.unwrap().len(), 1, "announced again");
        assert_eq!(events.info("gone").await.unwrap(), None);
    })
    .unwrap();
}

/// Ends other subscriptions, and itself, while it is delivered to.
struct Reckless {
    seen: RefCell<Vec<u64>>,
    victims: RefCell<Vec<Registration>>,
    events: Rc<Events>,
    newcomers: RefCell<Vec<Subscription>>,
}

impl Subscriber for Reckless {
    fn deliver(&self, delivery: &Delivery) {
        if let Delivery::Event(event) = delivery {
            self.seen.borrow_mut().push(event.position.offset);
            self.victims.borrow_mut().clear();
            self.newcomers.borrow_mut().push(self.events.subscribe("t", Options::default()).unwrap());
        }
    }
}

#[test]
fn subscriptions_may_change_while_something_is_delivered() {
    run(async {
        let hub = TestHub::new(1);
        let (events, _link) = worker(&hub);
        let reckless = |events: &Rc<Events>| {
            Rc::new(Reckless {
                seen: RefCell::default(),
                victims: RefCell::default(),
                events: events.clone(),
                newcomers: RefCell::default(),
            })
        };
        let (one, two) = (reckless(&events), reckless(&events));
        let attach = |subscriber: &Rc<Reckless>| {
            let weak = Rc::downgrade(subscriber);
            let weak: Weak<dyn Subscriber> = weak;
            events.attach("t", weak, Options::default()).unwrap()
        };
        let (first, second) = (attach(&one), attach(&two));
        let mut last = events.subscribe("t", Options::default()).unwrap();
        one.victims.borrow_mut().extend([first, second]);
        ready(&mut last).await;
        publish(&events, "t", 1).await;
        publish(&events, "t", 2).await;
        assert_eq!((one.seen.borrow().as_slice(), two.seen.borrow().as_slice()), ([1].as_slice(), [].as_slice()));
        assert_eq!((event(&mut last).await.position.offset, event(&mut last).await.position.offset), (1, 2));
        let mut newcomer = one.newcomers.borrow_mut().pop().unwrap();
        let (position, _) = ready(&mut newcomer).await;
        let start = position.unwrap().offset;
        publish(&events, "t", 3).await;
        for offset in start + 1..=3 {
            assert_eq!(event(&mut newcomer).await.position.offset, offset);
        }
        one.newcomers.borrow_mut().clear();
    })
    .unwrap();
}

#[test]
fn slow_readers_are_bounded_and_told() {
    run(async {
        let hub = TestHub::new(1);
        let (events, _link) = worker(&hub);
        let mut dropping = events.subscribe("t", Options { queue: 3, ..Options::default() }).unwrap();
        let mut closing = events.subscribe("t", Options { queue: 3, overflow: Overflow::Close, ..Options::default() }).unwrap();
        ready(&mut dropping).await;
        ready(&mut closing).await;
        for number in 1..=10 {
            publish(&events, "t", number).await;
        }
        assert!(matches!(next(&mut dropping).await, Delivery::Missed { count: 7, .. }));
        for offset in 8..=10 {
            assert_eq!(event(&mut dropping).await.position.offset, offset);
        }
        assert!(matches!(next(&mut closing).await, Delivery::Closed(Closed::Slow)));
        assert!(closing.next().await.is_none());
        hub.tell(
            0,
            EventsFromHub::Missed { topic: "t".into(), position: Position { offset: 12, ..dropping.position().unwrap() }, count: 2 },
        );
        assert!(matches!(next(&mut dropping).await, Delivery::Missed { count: 2, .. }));
    })
    .unwrap();
}

#[test]
fn a_recovery_is_whole_however_short_the_queue() {
    run(async {
        let hub = TestHub::new(1);
        let (events, _link) = worker(&hub);
        let first = publish(&events, "t", 1).await;
        for number in 2..=50 {
            publish(&events, "t", number).await;
        }
        let mut slow = events.subscribe("t", Options { queue: 3, ..recover(first) }).unwrap();
        // The hub answers in order: what is recovered has come before these are known to be published.
        for number in 51..=55 {
            publish(&events, "t", number).await;
        }
        assert_eq!(ready(&mut slow).await.1, Some(true));
        for number in 2..=50 {
            assert_eq!(event(&mut slow).await.position.offset, number);
        }
        assert!(matches!(next(&mut slow).await, Delivery::Missed { count: 2, .. }), "the limit is for what is live");
        for number in 53..=55 {
            assert_eq!(event(&mut slow).await.position.offset, number);
        }
        let mut closing = events.subscribe("t", Options { queue: 3, overflow: Overflow::Close, ..recover(first) }).unwrap();
        publish(&events, "t", 56).await;
        assert_eq!(ready(&mut closing).await.1, Some(true), "what is recovered does not make it slow");
    })
    .unwrap();
}

#[test]
fn thousands_of_subscribers_come_and_go() {
    run(async {
        let hub = TestHub::new(1);
        let (events, _link) = worker(&hub);
        let mut all: Vec<Subscription> = (0..5000).map(|_| events.subscribe("t", Options::default()).unwrap()).collect();
        for subscription in &mut all {
            ready(subscription).await;
        }
        let mut odd = 0;
        all.retain(|_| {
            odd += 1;
            odd % 5 == 0
        });
        publish(&events, "t", 1).await;
        for subscription in &mut all {
            assert_eq!(event(subscription).await.position.offset, 1);
        }
        all.clear();
        assert!(events.topics.borrow().is_empty() && events.asked.is_empty());
    })
    .unwrap();
}
