//! Two or more contenders doing the same work: CPU time of the server for each unit, in interleaved rounds.

use std::net::SocketAddr;
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

/// What was seen of one contender.
pub struct Seen {
    pub version: String,
    /// CPU time for one unit of work, in microseconds, one for each round.
    rounds: Vec<f64>,
    /// Part of that which was spent in the program's own code, over all rounds.
    user_share: f64,
    /// At a fixed rate, where the load can be given at one.
    pub latency: Option<Latency>,
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
    /// From the CPU time of every round, in each of which so many units were done.
    pub fn new(version: String, rounds: &[Cpu], units: u64, latency: Option<Latency>, resident: u64) -> Self {
        let sum = |of: fn(&Cpu) -> Duration| rounds.iter().map(of).sum::<Duration>().as_secs_f64();
        let (user, sys) = (sum(|cpu| cpu.user), sum(|cpu| cpu.sys));
        let rounds = rounds.iter().map(|cpu| per_unit(*cpu, units)).collect();
        Self { version, rounds, user_share: user / (user + sys), latency, resident }
    }

    /// CPU time for one unit of work, in microseconds.
    pub fn total(&self) -> f64 {
        median(self.rounds.iter().copied())
    }

    /// The part of it in the program's own code.
    pub fn user(&self) -> f64 {
        self.total() * self.user_share
    }

    /// How much more this one costs than `other`: the middle of the ratios of each round, so that what disturbs a round disturbs both sides.
    pub fn ratio(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(own, their)| own / their))
    }

    /// The same of user time. None: the other has too little of it to compare with.
    pub fn user_ratio(&self, other: &Self) -> Option<f64> {
        (other.user_share > 0.05).then(|| self.ratio(other) * self.user_share / other.user_share)
    }
}

/// Lets every contender do the work, in turns.
pub fn compare(bench: &Bench, work: &Work, contenders: &[&Peer]) -> Result<Vec<Seen>> {
    let contenders: Vec<_> = contenders.iter().map(|peer| (*peer, work.exchange)).collect();
    compare_dialects(bench, work, &contenders)
}

/// The same for contenders that are reached by FastCGI, through the same web server; its time does not count, that of programs which they start does.
pub fn compare_behind(bench: &Bench, work: &Work, contenders: &[&Peer]) -> Result<Vec<Seen>> {
    let mut sides = Vec::new();
    for peer in contenders {
        let running = peer.start_counted(bench.cores)?;
        let front = running.front().start(bench.cores).map_err(|error| running.blame(&*error))?;
        sides.push(Side { asked: front.address, running, _front: Some(front), exchange: work.exchange });
    }
    in_turns(bench, work, sides)
}

/// A contender, and what a connection with a number asks of it.
type Speaker<'a> = (&'a Peer, fn(usize) -> Exchange);

/// The same for contenders that are asked in different words.
pub fn compare_dialects(bench: &Bench, work: &Work, contenders: &[Speaker<'_>]) -> Result<Vec<Seen>> {
    let mut sides = Vec::new();
    for (peer, exchange) in contenders {
        let running = peer.start(bench.cores)?;
        sides.push(Side { asked: running.address, running, _front: None, exchange: *exchange });
    }
    in_turns(bench, work, sides)
}

/// A contender that runs.
struct Side {
    running: Running,
    /// What stands before it. It ends with it.
    _front: Option<Running>,
    /// Where the load goes.
    asked: SocketAddr,
    exchange: fn(usize) -> Exchange,
}

fn in_turns(bench: &Bench, work: &Work, contenders: Vec<Side>) -> Result<Vec<Seen>> {
    let mut sides = Vec::new();
    for side in contenders {
        let mut load = Load::open(side.asked, (0..work.connections).map(side.exchange))?;
        // Caches, buffers and compiled code come to be before anything is counted.
        cost(&side.running, &mut load, bench.scaled(work.requests) / 10)?;
        sides.push((side, load, Vec::new()));
    }
    for round in 0..bench.rounds {
        let mut turn: Vec<_> = sides.iter_mut().collect();
        // Whoever is first in one round is last in the next.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (side, load, rounds) in turn {
            rounds.push(cost(&side.running, load, bench.scaled(work.requests))?);
        }
    }
    let mut seen = Vec::new();
    for (side, mut load, rounds) in sides {
        let latency = load.paced(work.rate, PACED).map_err(|error| side.running.blame(&*error))?;
        let version = side.running.version()?;
        seen.push(Seen::new(version, &rounds, bench.scaled(work.requests), Some(latency), side.running.resident()?));
    }
    Ok(seen)
}

/// The same for work that another program makes: `load` lets it make so many requests at an address, and sees that all are answered.
pub fn compare_by(bench: &Bench, requests: u64, contenders: &[&Peer], load: impl Fn(SocketAddr, u64) -> Result<()>) -> Result<Vec<Seen>> {
    let mut sides = Vec::new();
    for peer in contenders {
        let running = peer.start(bench.cores)?;
        load(running.address, bench.scaled(requests) / 10).map_err(|error| running.blame(&*error))?;
        sides.push((running, Vec::new()));
    }
    for round in 0..bench.rounds {
        let mut turn: Vec<_> = sides.iter_mut().collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (running, rounds) in turn {
            let before = running.cpu()?;
            load(running.address, bench.scaled(requests)).map_err(|error| running.blame(&*error))?;
            rounds.push(running.cpu()? - before);
        }
    }
    let seen = |(running, rounds): (Running, Vec<Cpu>)| {
        Ok(Seen::new(running.version()?, &rounds, bench.scaled(requests), None, running.resident()?))
    };
    sides.into_iter().map(seen).collect()
}

/// The connections that this work needs.
pub fn open(running: &Running, work: &Work) -> Result<Load> {
    Load::open(running.address, (0..work.connections).map(work.exchange))
}

/// CPU time of the server for this many requests.
pub fn cost(running: &Running, load: &mut Load, requests: u64) -> Result<Cpu> {
    let before = running.cpu()?;
    load.closed(requests).map_err(|error| running.blame(&*error))?;
    Ok(running.cpu()? - before)
}

/// Microseconds for each unit.
pub fn per_unit(cpu: Cpu, units: u64) -> f64 {
    cpu.total.as_secs_f64() * 1e6 / units as f64
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
