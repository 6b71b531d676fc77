//! A small answer of another server, passed on over kept connections, against nginx doing the same.

use super::Row;
use crate::compare::{Work, compare};
use crate::peers::Peer;
use crate::report::{Finding, Goal};
use crate::{Bench, Result, site};

pub const ROW: Row = Row { name: "http/proxy", by_name_only: false, run };

const WORK: Work =
    Work { name: "answer of another server, 64 connections", connections: 64, requests: 20_000, rate: 2_000, exchange: site::fixed };

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    // The same server behind both; its time is not theirs.
    let behind = Peer::Nginx.start(bench.cores)?;
    let proxy = |peer: &Peer| match peer {
        Peer::Skep(binary) => Peer::SkepProxy(binary.clone(), behind.address),
        _ => Peer::NginxProxy(behind.address),
    };
    let (ours, peer) = (proxy(&bench.ours), proxy(&bench.peer));
    let seen = compare(bench, &WORK, &[&ours, &peer])?;
    Ok(vec![Finding::cost(WORK.name, &seen[0], &seen[1], Goal { total: 1.00, user: None })])
}
