//! Events from one publisher to 100 subscribers over RTEP. Nobody else speaks RTEP, so it stands beside the publications of Redis: a like job with less
//! to do, for Redis neither reads what is published nor dates it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Row;
use crate::compare::{median, per_unit};
use crate::peers::{Peer, Running};
use crate::report::Finding;
use crate::{Bench, Result};

pub const ROW: Row = Row { name: "rtep", by_name_only: false, run };

/// Who gets every event.
const SUBSCRIBERS: usize = 100;
/// Events that are published in one go.
const AT_ONCE: usize = 16;
/// Goes of one round.
const GOES: u64 = 200;
/// What is published, beside what names it.
const TEXT: &str = "a message as people write it, neither short nor long";
/// Longest silence that is not a failure.
const SILENCE: Duration = Duration::from_secs(10);

/// What a contender speaks.
struct Dialect {
    subscribe: String,
    publish: String,
    /// Lines that answer a subscription, answer a publication and make an event.
    lines: [usize; 3],
}

fn ours() -> Dialect {
    Dialect {
        subscribe: "{\"id\":1,\"type\":\"request\",\"request\":{\"op\":\"subscribeEvents\",\"events\":[\"chat\"]}}\n".to_owned(),
        publish: format!(
            "{{\"id\":1,\"type\":\"request\",\"request\":{{\"op\":\"event\",\"event\":{{\"name\":\"chat\",\"text\":\"{TEXT}\"}}}}}}\n"
        ),
        lines: [1, 1, 1],
    }
}

/// RESP2: `PUBLISH` is answered with a number, a message is an array of three strings.
fn theirs() -> Dialect {
    let text = format!("{{\"text\":\"{TEXT}\"}}");
    Dialect {
        subscribe: "*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nchat\r\n".to_owned(),
        publish: format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nchat\r\n${}\r\n{text}\r\n", text.len()),
        lines: [6, 1, 7],
    }
}

/// A connection of which only the ends of lines are read.
struct Line(TcpStream);

impl Line {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self(stream))
    }

    /// Reads until there were exactly so many lines.
    fn pass(&mut self, mut lines: usize, buffer: &mut [u8]) -> Result<()> {
        while lines > 0 {
            let count = self.0.read(buffer)?;
            let ends = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
            if count == 0 || ends > lines {
                return Err(format!("the connection ended, or brought more than was published ({ends} lines for {lines})").into());
            }
            lines -= ends;
        }
        Ok(())
    }
}

/// One contender with its connections.
struct Side {
    running: Running,
    dialect: Dialect,
    publisher: Line,
    subscribers: Vec<Line>,
    /// CPU time of each round for an event that one subscriber gets, in microseconds.
    costs: Vec<f64>,
    /// Events a second of each round.
    rates: Vec<f64>,
}

impl Side {
    fn open(bench: &Bench, peer: &Peer, dialect: Dialect) -> Result<Self> {
        let running = peer.start(bench.cores)?;
        let mut buffer = [0; 4096];
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let mut line = Line::open(running.address)?;
            line.0.write_all(dialect.subscribe.as_bytes())?;
            line.pass(dialect.lines[0], &mut buffer)?;
            subscribers.push(line);
        }
        let publisher = Line::open(running.address)?;
        Ok(Self { running, dialect, publisher, subscribers, costs: Vec::new(), rates: Vec::new() })
    }

    fn publish(&mut self, goes: u64) -> Result<()> {
        let text = self.dialect.publish.repeat(AT_ONCE);
        let [_, answer, event] = self.dialect.lines;
        let mut buffer = vec![0; 64 << 10];
        for _ in 0..goes {
            self.publisher.0.write_all(text.as_bytes())?;
            for subscriber in &mut self.subscribers {
                subscriber.pass(event * AT_ONCE, &mut buffer)?;
            }
            self.publisher.pass(answer * AT_ONCE, &mut buffer)?;
        }
        Ok(())
    }

    fn round(&mut self, goes: u64) -> Result<()> {
        let (before, start) = (self.running.cpu()?, Instant::now());
        self.publish(goes)?;
        let (events, time) = (goes * AT_ONCE as u64, start.elapsed());
        self.costs.push(per_unit(self.running.cpu()? - before, events * SUBSCRIBERS as u64));
        self.rates.push(events as f64 / time.as_secs_f64());
        Ok(())
    }

    fn show(&self) -> String {
        let (cost, rate) = (median(self.costs.iter().copied()), median(self.rates.iter().copied()));
        format!("{cost:.2} µs, {rate:.0} events/s")
    }
}

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let Peer::Skep(binary) = &bench.ours else { return Err("this row is about our binary".into()) };
    let contenders = [(Peer::SkepRtep(binary.clone()), ours()), (Peer::Redis, theirs())];
    let mut sides = Vec::new();
    for (peer, dialect) in contenders {
        let mut side = Side::open(bench, &peer, dialect)?;
        // Caches and buffers come to be before anything is counted.
        side.publish(bench.scaled(GOES) / 10)?;
        sides.push(side);
    }
    for round in 0..bench.rounds {
        let mut turn: Vec<_> = sides.iter_mut().collect();
        // Whoever is first in one round is last in the next.
        if round % 2 == 1 {
            turn.reverse();
        }
        for side in turn {
            let done = side.round(bench.scaled(GOES));
            done.map_err(|error| side.running.blame(&*error))?;
        }
    }
    let [ours, peer] = &sides[..] else { return Err("there are two contenders".into()) };
    let theirs = format!("{} (publications; no peer speaks RTEP): {}", Peer::Redis.version()?, peer.show());
    Ok(vec![Finding::size("CPU for each event that one of 100 subscribers gets over RTEP", ours.show(), theirs, "", true)])
}
