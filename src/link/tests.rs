use super::*;
use crate::reactor::{self, spawn, timeout};
use crate::sys::channel::Channel;
use std::rc::Rc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

fn get(name: &str) -> Call {
    Call::Cache(CacheCall::Get { key: ("app".into(), name.into()) })
}

async fn received(port: &Rc<Port>) -> ToHub {
    let (body, _) = timeout(LIMIT, port.receive()).await.unwrap().unwrap();
    postcard::from_bytes(&body).unwrap()
}

fn tell(port: &Rc<Port>, message: &FromHub) {
    port.send(&postcard::to_stdvec(message).unwrap(), &[]).unwrap();
}

#[test]
fn calls_are_answered_and_a_lost_hub_is_told() {
    reactor::run(async {
        let link = HubLink::new();
        let (ours, hubs) = Channel::pair().unwrap();
        link.connect(ours).unwrap();
        let hub = Port::new(hubs).unwrap();
        assert_eq!(received(&hub).await, ToHub::Hello(vec![]));
        let (caller, second) = (link.clone(), link.clone());
        let first = spawn(async move { caller.call(get("a"), LIMIT).await });
        let second = spawn(async move { second.call(get("b"), LIMIT).await });
        let ToHub::Call { id, call } = received(&hub).await else { panic!() };
        assert_eq!(call, get("a"));
        received(&hub).await;
        tell(&hub, &FromHub::Reply { id, reply: Ok(Reply::Count(7)) });
        assert_eq!(first.await, Ok(Reply::Count(7)));
        drop(hub);
        assert_eq!(second.await, Err(LinkError::Lost));
        // Without a hub a call waits for one.
        let caller = link.clone();
        let third = spawn(async move { caller.call(get("c"), LIMIT).await });
        let (ours, hubs) = Channel::pair().unwrap();
        link.connect(ours).unwrap();
        let hub = Port::new(hubs).unwrap();
        assert_eq!(received(&hub).await, ToHub::Hello(vec![]));
        let ToHub::Call { id, .. } = received(&hub).await else { panic!() };
        tell(&hub, &FromHub::Reply { id, reply: Err("no".into()) });
        assert_eq!(third.await, Err(LinkError::Refused("no".into())));
        assert_eq!(link.call(get("d"), Duration::from_millis(1)).await, Err(LinkError::TimedOut));
    })
    .unwrap();
}

#[test]
fn an_office_is_kept_over_a_restart_of_the_hub() {
    reactor::run(async {
        let link = HubLink::new();
        let (ours, hubs) = Channel::pair().unwrap();
        link.connect(ours).unwrap();
        let hub = Port::new(hubs).unwrap();
        received(&hub).await;
        let candidacy = link.campaign("tick");
        assert_eq!(received(&hub).await, ToHub::Campaign("tick".into()));
        assert!(!candidacy.is_elected());
        tell(&hub, &FromHub::Elected("tick".into()));
        timeout(LIMIT, candidacy.until(true)).await.unwrap();
        let (ours, hubs) = Channel::pair().unwrap();
        link.connect(ours).unwrap();
        let hub = Port::new(hubs).unwrap();
        assert_eq!(received(&hub).await, ToHub::Hello(vec![Candidate { name: "tick".into(), elected: true }]));
        tell(&hub, &FromHub::Dismissed("tick".into()));
        timeout(LIMIT, candidacy.until(false)).await.unwrap();
        drop(candidacy);
        assert_eq!(received(&hub).await, ToHub::Resign("tick".into()));
    })
    .unwrap();
}

#[test]
fn more_than_a_socket_takes_is_sent_all_the_same() {
    reactor::run(async {
        let (a, b) = Channel::pair().unwrap();
        let (a, b) = (Port::new(a).unwrap(), Port::new(b).unwrap());
        let body = vec![7; 1 << 20];
        for _ in 0..8 {
            a.send(&body, &[]).unwrap();
        }
        for _ in 0..8 {
            assert_eq!(timeout(LIMIT, b.receive()).await.unwrap().unwrap().0.len(), body.len());
        }
    })
    .unwrap();
}
