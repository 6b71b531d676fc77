//! Files from disk: one that fits a packet, and one that is nothing but copying.

use super::Row;
use crate::compare::{Work, compare};
use crate::load::Exchange;
use crate::report::{Finding, Goal};
use crate::{Bench, Result, site};

pub const SMALL: Row = Row { name: "http/static-small", by_name_only: false, run: small };
pub const LARGE: Row = Row { name: "http/static-large", by_name_only: false, run: large };

const SMALL_WORK: Work = Work {
    name: "static file, 1 KiB, 64 connections",
    connections: 64,
    requests: 40_000,
    rate: 5_000,
    exchange: |_| Exchange::get("/files/small.txt", site::content(site::SMALL)),
};

const LARGE_WORK: Work = Work {
    name: "static file, 1 MiB, 16 connections",
    connections: 16,
    requests: 1_000,
    rate: 200,
    exchange: |_| Exchange::get("/files/large.txt", site::content(site::LARGE)),
};

fn small(bench: &Bench) -> Result<Vec<Finding>> {
    run(bench, &SMALL_WORK, 0.70)
}

fn large(bench: &Bench) -> Result<Vec<Finding>> {
    run(bench, &LARGE_WORK, 1.0)
}

fn run(bench: &Bench, work: &Work, goal: f64) -> Result<Vec<Finding>> {
    let seen = compare(bench, work, &[&bench.ours, &bench.peer])?;
    Ok(vec![Finding::cost(work.name, &seen[0], &seen[1], Goal { total: goal, user: None })])
}
