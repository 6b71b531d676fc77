//! What a WebSocket subscriber costs that does nothing: memory, and CPU time for its liveness.

use std::time::{Duration, Instant};

use super::Row;
use super::fanout::{NEVER, Side, contenders};
use crate::report::Finding;
use crate::{Bench, Result};

pub const MEMORY: Row = Row { name: "realtime/memory", by_name_only: false, run: memory };
pub const IDLE: Row = Row { name: "realtime/idle", by_name_only: false, run: idle };

/// Between which numbers of subscribers memory is compared.
const FEW: usize = 1_000;
const MANY: usize = 10_000;
/// Bytes for each of them at most.
const GOAL: f64 = 4_000.0;

/// Connections that only stay.
const STAY: usize = 15_000;
/// Each is asked so often whether it lives.
const PING: Duration = Duration::from_secs(20);

fn memory(bench: &Bench) -> Result<Vec<Finding>> {
    let mut shown = Vec::new();
    for peer in contenders(bench, NEVER)? {
        let mut side = Side::open(bench, &peer, FEW)?;
        let few = side.running.proportional()?;
        side.grow(MANY)?;
        let each = side.running.proportional()?.saturating_sub(few) as f64 / (MANY - FEW) as f64;
        shown.push((side.version().to_owned(), each));
    }
    let kilobytes = |each: f64| format!("{:.1} KB", each / 1000.0);
    let others: Vec<String> = shown[1..].iter().map(|(version, each)| format!("{version}: {}", kilobytes(*each))).collect();
    let ours = shown[0].1;
    Ok(vec![Finding::size(
        "memory of a WebSocket subscriber, 1,000 → 10,000 of them",
        kilobytes(ours),
        others.join(", "),
        "≤ 4 KB",
        ours <= GOAL,
    )])
}

fn idle(bench: &Bench) -> Result<Vec<Finding>> {
    let mut shown = Vec::new();
    for peer in contenders(bench, PING)? {
        let mut side = Side::open(bench, &peer, STAY)?;
        let (before, start) = (side.running.cpu()?, Instant::now());
        let rested = side.subscribers.rest(start + 2 * PING);
        rested.map_err(|error| side.running.blame(&*error))?;
        let (cpu, time) = (side.running.cpu()? - before, start.elapsed());
        if side.subscribers.least_asked() == 0 {
            return Err(
                format!("{}: some of {} connections were never asked whether they live", side.version(), side.subscribers.len()).into()
            );
        }
        // Whoever was lost is missing here.
        side.publish(1)?;
        let share = cpu.total.as_secs_f64() / time.as_secs_f64() * 100.0;
        shown.push((side.version().to_owned(), format!("{share:.1} % of a core")));
    }
    let others: Vec<String> = shown[1..].iter().map(|(version, share)| format!("{version}: {share}")).collect();
    let ours = shown[0].1.clone();
    Ok(vec![Finding::size(
        "15,000 idle WebSocket connections, each pinged every 20 s; all still get a message",
        ours,
        others.join(", "),
        "",
        true,
    )])
}
