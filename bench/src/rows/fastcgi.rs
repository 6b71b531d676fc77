//! "Hello, "..path behind nginx by FastCGI, against PHP: the time of what is behind, not nginx's.

use super::Row;
use crate::compare::{Work, compare_behind};
use crate::peers::Peer;
use crate::report::{Finding, Goal};
use crate::{Bench, Result, site};

pub const ROW: Row = Row { name: "http/fastcgi", by_name_only: false, run };

/// As many connections as nginx keeps to what is behind it, and as PHP has workers.
const WORK: Work = Work {
    name: "scripted \"Hello, \"..path behind nginx by FastCGI, 16 connections",
    connections: 16,
    requests: 10_000,
    rate: 1_000,
    exchange: site::scripted,
};

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let Peer::Skep(binary) = &bench.ours else { return Err("this row is about our binary".into()) };
    let seen = compare_behind(bench, &WORK, &[&Peer::SkepFastCgi(binary.clone()), &Peer::PhpFpm])?;
    Ok(vec![Finding::cost(WORK.name, &seen[0], &seen[1], Goal { total: 0.25, user: None })])
}
