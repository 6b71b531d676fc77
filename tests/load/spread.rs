//! Connections spread evenly over the workers.

use crate::support::client::Client;
use crate::{alone, hello, workers};

/// Issue: 1,000 keep-alive connections over 4 workers: most/least at most 1.3.
#[test]
fn a_thousand_connections_spread_over_four_workers() {
    let _alone = alone();
    let skep = hello(&workers(4)).start();
    skep.settled(4);
    let mut clients = Vec::new();
    for number in 0..1_000 {
        let mut client = Client::connect(skep.address()).expect("a connection");
        let path = format!("/{number}");
        assert_eq!(client.get(&path).expect("an answer").text(), format!("Hello, {path}"));
        clients.push(client);
    }
    let counts: Vec<u64> = skep.status().workers.iter().map(|worker| worker.connections).collect();
    assert_eq!(counts.iter().sum::<u64>(), 1_000, "{counts:?}");
    let (most, least) = (counts.iter().max().expect("workers"), counts.iter().min().expect("workers"));
    assert!(most * 10 <= least * 13, "{counts:?}");
}
