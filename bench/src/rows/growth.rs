//! What 10,000 idle connections cost those that work, and what each keeps in memory.

use super::Row;
use crate::compare::{Work, cost, median, open, per_unit};
use crate::load::Idle;
use crate::peers::Peer;
use crate::report::Finding;
use crate::{Bench, Result, site};

pub const ROW: Row = Row { name: "http/growth", by_name_only: false, run };

const IDLE: usize = 10_000;

const WORK: Work = Work { name: "scripted, beside idle connections", connections: 64, requests: 40_000, rate: 1, exchange: site::scripted };

/// One contender without and with idle connections.
struct Growth {
    alone: f64,
    beside: f64,
    /// Bytes for each idle connection, of the server's processes (what the kernel keeps for a socket is the same for everybody).
    each: f64,
}

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let (ours, peer) = (grow(bench, &bench.ours)?, grow(bench, &bench.peer)?);
    let show =
        |growth: &Growth| format!("{:.2} → {:.2} µs ({:+.0} %)", growth.alone, growth.beside, (growth.beside / growth.alone - 1.0) * 100.0);
    let name = bench.peer.version()?;
    Ok(vec![
        Finding::size(
            "CPU a scripted request, 1 → 10,000 idle connections",
            show(&ours),
            format!("{name}: {}", show(&peer)),
            "within +15 %",
            ours.beside / ours.alone <= 1.15,
        ),
        Finding::size(
            "memory of an idle connection",
            format!("{:.1} KB", ours.each / 1000.0),
            format!("{name}: {:.1} KB", peer.each / 1000.0),
            "",
            true,
        ),
    ])
}

fn grow(bench: &Bench, peer: &Peer) -> Result<Growth> {
    let running = peer.start(bench.cores)?;
    let requests = bench.scaled(WORK.requests);
    let mut load = open(&running, &WORK)?;
    cost(&running, &mut load, requests / 10)?;
    let mut measure = || -> Result<f64> {
        let rounds: Result<Vec<f64>> =
            (0..bench.rounds).map(|_| cost(&running, &mut load, requests).map(|cpu| per_unit(cpu, requests))).collect();
        Ok(median(rounds?))
    };
    let alone = measure()?;
    let before = running.resident()?;
    let idle = Idle::open(running.address, &site::scripted(0), IDLE).map_err(|error| running.blame(&*error))?;
    let each = running.resident()?.saturating_sub(before) as f64 / IDLE as f64;
    let beside = measure()?;
    idle.check()?;
    Ok(Growth { alone, beside, each })
}
