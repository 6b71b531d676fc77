//! A program started for each request, behind nginx by FastCGI: the time of who starts it and of the program, not nginx's.

use super::Row;
use crate::compare::{Work, compare_behind};
use crate::peers::Peer;
use crate::report::{Finding, Goal};
use crate::{Bench, Result, site};

pub const ROW: Row = Row { name: "http/cgi", by_name_only: false, run };

const WORK: Work =
    Work { name: "CGI program behind nginx, 4 connections", connections: 4, requests: 1_000, rate: 100, exchange: site::scripted };

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let Peer::Skep(binary) = &bench.ours else { return Err("this row is about our binary".into()) };
    let seen = compare_behind(bench, &WORK, &[&Peer::SkepCgi(binary.clone()), &Peer::Fcgiwrap])?;
    Ok(vec![Finding::cost(WORK.name, &seen[0], &seen[1], Goal { total: 1.0, user: None })])
}
