//! Messages of 100 bytes from one publisher to many WebSocket connections: CPU time for each that one of them gets, and the time from the publication
//! until it is there. Paced is a busy chat (10,000 deliveries a second); a burst is what comes together while everybody writes at once.

use std::time::{Duration, Instant};

use super::Row;
use crate::compare::Seen;
use crate::load::{Dialect, Latency, Publisher, Subscribers};
use crate::peers::{Liveness, Peer, Running};
use crate::process::Cpu;
use crate::report::{Finding, Goal};
use crate::{Bench, Result};

pub const PACED: Row = Row { name: "realtime/fanout-paced", by_name_only: false, run: paced };
pub const BURST: Row = Row { name: "realtime/fanout-burst", by_name_only: false, run: burst };

/// One `write` for each subscriber and nothing else: how much more a delivery may cost.
const ABOVE_KERNEL: f64 = 1.30;

/// The longest that 99 of 100 deliveries may take at 10,000 a second.
const GOAL: Duration = Duration::from_millis(5);

/// A silence that no client reaches: the ones wait here while the others are measured.
pub(super) const NEVER: Duration = Duration::from_hours(1);

/// A process has luck or none with where its memory lies, which is seen in its caches: so many of each contender are measured, one after the other.
const STARTS: u32 = 3;

/// A receiver acknowledges so many segments at once after a pause like the one in which others have their round (`TCP_MAX_QUICKACKS` of Linux), and
/// that work falls to who sends. Where messages come all the time there are no such pauses.
const QUICK_ACKS: usize = 16;

/// What is published.
struct Shape {
    name: &'static str,
    subscribers: usize,
    /// Messages in one go, goes of one round, and the time from one to the next.
    at_once: usize,
    goes: usize,
    pause: Duration,
    /// Goes before each round that do not count.
    ahead: usize,
}

const PACED_SHAPE: Shape = Shape {
    name: "WebSocket fan-out, a delivery: 500 subscribers, a message every 50 ms",
    subscribers: 500,
    at_once: 1,
    goes: 20,
    pause: Duration::from_millis(50),
    ahead: QUICK_ACKS,
};

const BURST_SHAPE: Shape = Shape {
    name: "WebSocket fan-out, a delivery: 2,000 subscribers, 20 messages back to back",
    subscribers: 2_000,
    at_once: 20,
    goes: 5,
    pause: Duration::ZERO,
    ahead: 0,
};

/// A contender with its connections.
pub(super) struct Side {
    pub running: Running,
    pub subscribers: Subscribers,
    /// Comes when there are subscribers: a connection that is silent at first is closed.
    publisher: Option<Publisher>,
    version: String,
}

impl Side {
    pub fn open(bench: &Bench, peer: &Peer, count: usize) -> Result<Self> {
        let dialect = match peer {
            Peer::Nchan(_) | Peer::KernelLimit => Dialect { hello: None, greets: false, asks: None },
            Peer::Centrifuge(_) => Dialect { hello: Some("{\"id\":1,\"connect\":{}}"), greets: true, asks: Some("{}") },
            _ => Dialect { hello: None, greets: true, asks: None },
        };
        let version = peer.version()?;
        let running = peer.start(bench.cores)?;
        let subscribers = Subscribers::new(running.address, dialect)?;
        let mut side = Self { running, subscribers, publisher: None, version };
        side.grow(count)?;
        Ok(side)
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// Opens connections until there are `count`, and sends all of them a message.
    pub fn grow(&mut self, count: usize) -> Result<()> {
        let grown = self.subscribers.grow(count);
        grown.map_err(|error| self.running.blame(&*error))?;
        self.publish(1).map(|_| ())
    }

    /// Publishes so many in one go, and waits until everybody has them. Gives how long each took.
    pub fn publish(&mut self, count: usize) -> Result<Vec<Duration>> {
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            none => none.insert(Publisher::open(self.running.address)?),
        };
        let published = publisher.publish(count).and_then(|start| {
            let came = self.subscribers.gather(count)?;
            publisher.confirm()?;
            Ok(came.into_iter().map(|came| came - start).collect())
        });
        published.map_err(|error| self.running.blame(&*error))
    }

    fn round(&mut self, shape: &Shape, tally: &mut Tally) -> Result<()> {
        for _ in 0..shape.ahead {
            self.go(shape)?;
        }
        let before = self.running.cpu()?;
        for _ in 0..shape.goes {
            tally.waits.extend(self.go(shape)?);
        }
        tally.rounds.push(self.running.cpu()? - before);
        Ok(())
    }

    /// Publishes once, and waits until it is time to do so again. Gives how long each delivery took.
    fn go(&mut self, shape: &Shape) -> Result<Vec<Duration>> {
        let due = Instant::now() + shape.pause;
        let waits = self.publish(shape.at_once)?;
        self.subscribers.rest(due).map_err(|error| self.running.blame(&*error))?;
        Ok(waits)
    }
}

/// Ours, and those of the others that are here. They ask a client after this time of silence whether it lives.
pub(super) fn contenders(bench: &Bench, silence: Duration) -> Result<Vec<Peer>> {
    let Peer::Skep(binary) = &bench.ours else { return Err("this row is about our binary".into()) };
    let liveness = Liveness(silence);
    let all = [Peer::SkepRealtime(binary.clone(), liveness), Peer::Nchan(liveness), Peer::Centrifuge(liveness)];
    Ok(all.into_iter().filter(Peer::is_here).collect())
}

/// What one contender did, in all its processes.
#[derive(Default)]
struct Tally {
    version: String,
    rounds: Vec<Cpu>,
    waits: Vec<Duration>,
    resident: u64,
}

fn compare(bench: &Bench, shape: &Shape, peers: &[Peer]) -> Result<Vec<Seen>> {
    let mut tallies: Vec<Tally> = peers.iter().map(|_| Tally::default()).collect();
    for start in 0..STARTS {
        // As many for each of them as there are, more or less.
        let rounds = (bench.rounds + start) / STARTS;
        if rounds > 0 {
            measure(bench, shape, peers, rounds, &mut tallies)?;
        }
    }
    let deliveries = (shape.subscribers * shape.at_once * shape.goes) as u64;
    let seen = |tally: Tally| Seen::new(tally.version, &tally.rounds, deliveries, Some(Latency::of(tally.waits)), tally.resident);
    Ok(tallies.into_iter().map(seen).collect())
}

/// Starts all contenders, and lets them do so many rounds in turns.
fn measure(bench: &Bench, shape: &Shape, peers: &[Peer], rounds: u32, tallies: &mut [Tally]) -> Result<()> {
    let mut sides = Vec::new();
    for peer in peers {
        let mut side = Side::open(bench, peer, shape.subscribers)?;
        // Caches and buffers come to be before anything is counted.
        for _ in 0..shape.goes {
            side.publish(shape.at_once)?;
        }
        sides.push(side);
    }
    for round in 0..rounds {
        let mut turn: Vec<_> = sides.iter_mut().zip(&mut *tallies).collect();
        // Whoever is first in one round is last in the next.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (side, tally) in turn {
            side.round(shape, tally)?;
        }
    }
    for (side, tally) in sides.into_iter().zip(tallies) {
        tally.resident = tally.resident.max(side.running.resident()?);
        tally.version = side.version;
    }
    Ok(())
}

/// Beside Nchan and the kernel alone there is a goal, beside the others there is none.
fn findings(shape: &Shape, peers: &[Peer], seen: &[Seen], beside_nchan: f64) -> Vec<Finding> {
    let finding = |(peer, theirs): (&Peer, &Seen)| {
        let total = match peer {
            Peer::Nchan(_) => beside_nchan,
            Peer::KernelLimit => ABOVE_KERNEL,
            _ => 1.0,
        };
        Finding::cost(shape.name, &seen[0], theirs, Goal { total, user: None })
    };
    peers.iter().zip(seen).skip(1).map(finding).collect()
}

fn paced(bench: &Bench) -> Result<Vec<Finding>> {
    let mut peers = contenders(bench, NEVER)?;
    peers.push(Peer::KernelLimit);
    let seen = compare(bench, &PACED_SHAPE, &peers)?;
    let mut findings = findings(&PACED_SHAPE, &peers, &seen, 0.70);
    let show = |seen: &Seen| {
        let show = |latency: Latency| format!("{:.2} / {:.2} ms", latency.p50.as_secs_f64() * 1e3, latency.p99.as_secs_f64() * 1e3);
        seen.latency.map(show).unwrap_or_default()
    };
    let others: Vec<String> = seen[1..].iter().map(|seen| format!("{}: {}", seen.version, show(seen))).collect();
    findings.push(Finding::size(
        "from publication to delivery, p50 / p99, 10,000 deliveries a second",
        show(&seen[0]),
        others.join(", "),
        "p99 ≤ 5 ms",
        seen[0].latency.is_some_and(|latency| latency.p99 <= GOAL),
    ));
    Ok(findings)
}

fn burst(bench: &Bench) -> Result<Vec<Finding>> {
    let peers = contenders(bench, NEVER)?;
    let seen = compare(bench, &BURST_SHAPE, &peers)?;
    Ok(findings(&BURST_SHAPE, &peers, &seen, 0.40))
}
