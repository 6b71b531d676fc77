//! Thousands of clients that send a byte now and then keep nobody else waiting.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::client::Reply;
use crate::support::steady::Steady;
use crate::support::wait;
use crate::{alone, hello, workers};

const SLOW: usize = 5_000;

/// What the server may keep for each of them: less than the largest head that it would accept.
const MOST: u64 = 40 * 1024;

/// Bytes that each of them gets to send: more than the time for a request's head allows is not needed.
const BYTES: usize = 5;

fn is_right(reply: &Reply) -> bool {
    reply.status == 200 && reply.body == b"Hello, /"
}

#[test]
fn five_thousand_slow_clients_keep_nobody_waiting() {
    let _alone = alone();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(most > SLOW as u64 + 500, "needs {SLOW} descriptors, and may have {most}");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");

    let skep = hello(&workers(2)).start();
    let memory = || skep.status().workers.iter().map(|worker| worker.rss).sum::<u64>();
    skep.settled(2);
    let before = memory();
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| TcpStream::connect(skep.address()).expect("a connection")).collect();
    let start = Instant::now();
    let (mut refused, mut seen) = (0, Vec::new());
    for (number, byte) in b"GET /slow HTTP/1.1\r\n"[..BYTES].iter().enumerate() {
        let load = Steady::start(skep.address(), "/", is_right, 2, 2);
        for stream in &mut slow {
            match stream.write(&[*byte]) {
                Ok(_) => {}
                // The server may have had enough of one; that is its right.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        // A byte a second is what the load is; the normal clients go on meanwhile.
        wait::until("the next second", || start.elapsed() >= Duration::from_secs(number as u64 + 1));
        let tally = load.stop();
        assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
        seen.push(tally.p99());
    }
    let grown = memory().saturating_sub(before);
    // What else runs on the machine makes a second worse and never better.
    let p99 = seen.iter().min().expect("some seconds");
    assert!(*p99 < Duration::from_millis(50), "p99 {seen:?}");
    assert!(grown < SLOW as u64 * MOST, "{} bytes for each slow client", grown / SLOW as u64);
    println!("p99 {p99:?}, {} bytes a slow client, {refused} refused", grown / SLOW as u64);
}
