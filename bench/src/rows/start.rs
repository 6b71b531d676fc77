//! From the start of the process to the end of its first answer.

use super::Row;
use crate::compare::median;
use crate::peers::Peer;
use crate::report::Finding;
use crate::{Bench, Result};

pub const ROW: Row = Row { name: "http/start", by_name_only: false, run };

/// Longest time that is still good, in milliseconds.
const GOAL: f64 = 100.0;

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let (ours, peer) = (first_answer(bench, &bench.ours)?, first_answer(bench, &bench.peer)?);
    let name = bench.peer.version()?;
    Ok(vec![Finding::size("start to first answer", format!("{ours:.0} ms"), format!("{name}: {peer:.0} ms"), "≤ 100 ms", ours <= GOAL)])
}

/// The middle of several starts, in milliseconds.
fn first_answer(bench: &Bench, peer: &Peer) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..bench.rounds.clamp(3, 7) {
        times.push(peer.start(bench.cores)?.first_answer.as_secs_f64() * 1e3);
    }
    Ok(median(times))
}
