//! Two or more contenders doing the same work: CPU time of the server for each unit, in interleaved rounds.

use std::time::Duration;

use crate::load::{Exchange, Latency, Load};
use crate::peers::{Peer, Running};
use crate::process::Cpu;
use crate::{Bench, Result};

/// How long the load at a fixed rate lasts.
const PACED: Duration = Duration::from_secs(2);

/// Something to be done by all contenders.
pub struct Work {
    pub name: &'static str,
    /// Open connections, each with one request under way.
    pub connections: usize,
    /// Requests of one round.
    pub requests: u64,
    /// Requests a second for the latency: well below what either side can do.
    pub rate: u32,
    /// What the connection with this number asks.
    pub exchange: fn(usize) -> Exchange,
}

/// CPU time for one unit of work, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct PerUnit {
    pub user: f64,
    pub sys: f64,
}

impl PerUnit {
    pub fn of(cpu: Cpu, units: u64) -> Self {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / units as f64;
        Self { user: each(cpu.user), sys: each(cpu.sys) }
    }

    pub fn total(self) -> f64 {
        self.user + self.sys
    }
}

/// What was seen of one contender.
pub struct Seen {
    pub version: String,
    /// One a round.
    pub rounds: Vec<PerUnit>,
    pub latency: Latency,
    /// Resident memory of all its processes under this load, in bytes.
    pub resident: u64,
}

/// The value in the middle; of an even number the lower one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

impl Seen {
    pub fn total(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.total()))
    }

    pub fn user(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.user))
    }

    /// How much more this one costs than `other`: the middle of the ratios of each round, so that what disturbs a round disturbs both sides.
    pub fn ratio(&self, other: &Self, of: impl Fn(&PerUnit) -> f64) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(own, their)| of(own) / of(their)))
    }
}

/// Lets every contender do the work, in turns.
pub fn compare(bench: &Bench, work: &Work, contenders: &[&Peer]) -> Result<Vec<Seen>> {
    let mut sides = Vec::new();
    for peer in contenders {
        let running = peer.start(bench.cores)?;
        let mut load = open(&running, work)?;
        // Caches, buffers and compiled code come to be before anything is counted.
        load.closed(bench.scaled(work.requests) / 10)?;
        sides.push((running, load, Vec::new()));
    }
    for round in 0..bench.rounds {
        let mut turn: Vec<_> = sides.iter_mut().collect();
        // Whoever is first in one round is last in the next.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (running, load, rounds) in turn {
            rounds.push(cost(running, load, bench.scaled(work.requests))?);
        }
    }
    let mut seen = Vec::new();
    for ((running, mut load, rounds), peer) in sides.into_iter().zip(contenders) {
        let latency = load.paced(work.rate, PACED)?;
        seen.push(Seen { version: peer.version()?, rounds, latency, resident: running.resident()? });
    }
    Ok(seen)
}

/// The connections that this work needs.
pub fn open(running: &Running, work: &Work) -> Result<Load> {
    Load::open(running.address, (0..work.connections).map(work.exchange))
}

/// CPU time of the server for each of `requests` requests.
pub fn cost(running: &Running, load: &mut Load, requests: u64) -> Result<PerUnit> {
    let before = running.cpu()?;
    load.closed(requests)?;
    Ok(PerUnit::of(running.cpu()? - before, requests))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle_of_few_values() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0]) - 1.0).abs() < f64::EPSILON);
        assert!(median([]).is_nan());
    }
}
