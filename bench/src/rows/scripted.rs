//! A script that answers "Hello, " and the path, on 64 keep-alive connections.

use super::Row;
use crate::compare::{Work, compare};
use crate::report::{Finding, Goal};
use crate::{Bench, Result, site};

pub const ROW: Row = Row { name: "http/scripted", by_name_only: false, run };

const WORK: Work =
    Work { name: "scripted \"Hello, \"..path, 64 connections", connections: 64, requests: 50_000, rate: 5_000, exchange: site::scripted };

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let seen = compare(bench, &WORK, &[&bench.ours, &bench.peer])?;
    Ok(vec![Finding::cost(WORK.name, &seen[0], &seen[1], Goal { total: 0.85, user: Some(0.65) })])
}
