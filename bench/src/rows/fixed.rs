//! An answer that stands in the configuration, against nginx and against a server that parses nothing.

use super::Row;
use crate::compare::{Work, compare};
use crate::peers::Peer;
use crate::report::{Finding, Goal};
use crate::{Bench, Result, site};

pub const ROW: Row = Row { name: "http/fixed", by_name_only: false, run };

const WORK: Work = Work { name: "fixed answer, 64 connections", connections: 64, requests: 50_000, rate: 5_000, exchange: site::fixed };

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let seen = compare(bench, &WORK, &[&bench.ours, &bench.peer, &Peer::KernelLimit])?;
    Ok(vec![
        Finding::cost(WORK.name, &seen[0], &seen[1], Goal { total: 0.90, user: None }),
        Finding::cost(WORK.name, &seen[0], &seen[2], Goal { total: 1.08, user: None }),
    ])
}
