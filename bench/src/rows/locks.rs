//! Locks taken and given back, beside `SET NX` and `DEL` of Redis: 50 clients with one command under way each, and one with 16.

use super::Row;
use crate::compare::{Work, compare_dialects};
use crate::load::Exchange;
use crate::peers::Peer;
use crate::report::{Finding, Goal};
use crate::{Bench, Result};

pub const ROW: Row = Row { name: "locks", by_name_only: false, run };

/// One command a unit.
const CLIENTS: Work =
    Work { name: "acquire, then done: one command, 50 clients", connections: 50, requests: 50_000, rate: 5_000, exchange: ours };

/// Sixteen commands a unit.
const PIPELINE: Work =
    Work { name: "acquire and done: 16 commands in one go", connections: 1, requests: 5_000, rate: 500, exchange: our_pipeline };

/// Locks in one go: each is taken and given back.
const AT_ONCE: usize = 8;

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let Peer::Skep(binary) = &bench.ours else { return Err("this row is about our binary".into()) };
    let (ours_, peer) = (Peer::SkepLocks(binary.clone()), Peer::Redis);
    let goal = Goal { total: 1.0, user: None };
    let clients = compare_dialects(bench, &CLIENTS, &[(&ours_, ours), (&peer, theirs)])?;
    let pipeline = compare_dialects(bench, &PIPELINE, &[(&ours_, our_pipeline), (&peer, their_pipeline)])?;
    Ok(vec![Finding::cost(CLIENTS.name, &clients[0], &clients[1], goal), Finding::cost(PIPELINE.name, &pipeline[0], &pipeline[1], goal)])
}

fn ours(client: usize) -> Exchange {
    let acquire = Exchange::plain(format!("acquire job-{client}\n"), format!("RUN job-{client}\n").into_bytes());
    acquire.then(Exchange::plain(format!("done job-{client}\n"), format!("DONE job-{client}\n").into_bytes()))
}

fn theirs(client: usize) -> Exchange {
    let name = format!("job-{client}");
    Exchange::plain(set(&name), *b"+OK\r\n").then(Exchange::plain(delete(&name), *b":1\r\n"))
}

fn our_pipeline(_client: usize) -> Exchange {
    let all = |word: &str| (0..AT_ONCE).map(|number| format!("{word} job-{number}\n")).collect::<String>();
    Exchange::plain(all("acquire") + &all("done"), (all("RUN") + &all("DONE")).into_bytes())
}

fn their_pipeline(_client: usize) -> Exchange {
    let all = |command: fn(&str) -> String| (0..AT_ONCE).map(|number| command(&format!("job-{number}"))).collect::<String>();
    Exchange::plain(all(set) + &all(delete), ("+OK\r\n".repeat(AT_ONCE) + &":1\r\n".repeat(AT_ONCE)).into_bytes())
}

/// The commands as clients send them (RESP2).
fn set(name: &str) -> String {
    format!("*4\r\n$3\r\nSET\r\n${}\r\n{name}\r\n$1\r\n1\r\n$2\r\nNX\r\n", name.len())
}

fn delete(name: &str) -> String {
    format!("*2\r\n$3\r\nDEL\r\n${}\r\n{name}\r\n", name.len())
}
