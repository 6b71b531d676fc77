//! The load generator: keep-alive connections on one thread, every answer checked byte by byte.
//!
//! Two kinds of load: [`Load::closed`] sends the next request on a connection when its answer is complete, for a given number of requests;
//! [`Load::paced`] sends at a fixed rate and counts the waiting from the moment a request was due, so a stall of the server is not hidden
//! by a client that stalls with it.

mod connection;
mod idle;
mod subscribers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Result;
pub use connection::Exchange;
use connection::{Connection, Progress};
pub use idle::Idle;
pub use subscribers::{Dialect, Publisher, Subscribers};

/// Longest time without a single answer.
const STALL: Duration = Duration::from_secs(10);

/// Bytes read at once.
const READ: usize = 64 * 1024;

/// A set of open connections to one server.
pub struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

/// Half and 99 of 100 answers came within these times of the moment they were due.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Median.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
}

impl Latency {
    /// Of all waits that were seen.
    pub fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let part = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or_default();
        Self { p50: part(50), p99: part(99) }
    }
}

impl Load {
    /// Opens one connection for each exchange.
    pub fn open(address: SocketAddr, exchanges: impl IntoIterator<Item = Exchange>) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::new();
        for exchange in exchanges {
            let connection = Connection::open(address, exchange)?;
            let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            epoll.add(connection.stream(), EpollEvent::new(interest, connections.len() as u64))?;
            connections.push(connection);
        }
        Ok(Self { epoll, connections, buffer: vec![0; READ] })
    }

    /// Makes `requests` requests, each connection one after the other, and returns when the last answer is complete.
    pub fn closed(&mut self, requests: u64) -> Result<()> {
        let mut to_send = requests;
        let mut to_come = requests;
        for connection in &mut self.connections {
            if to_send == 0 {
                break;
            }
            connection.send()?;
            to_send -= 1;
        }
        let mut last = Instant::now();
        while to_come > 0 {
            let mut came = 0;
            self.turn(EpollTimeout::from(100u8), |_, connection| {
                came += 1;
                if to_send > 0 {
                    to_send -= 1;
                    connection.send()?;
                }
                Ok(())
            })?;
            to_come -= came;
            last = watch(last, came)?;
        }
        Ok(())
    }

    /// Makes `rate` requests a second for `duration`, spread evenly, whatever the server does.
    pub fn paced(&mut self, rate: u32, duration: Duration) -> Result<Latency> {
        let total = (f64::from(rate) * duration.as_secs_f64()) as usize;
        let gap = Duration::from_secs(1) / rate;
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut due_of = vec![Instant::now(); self.connections.len()];
        let mut waits: Vec<Duration> = Vec::with_capacity(total);
        let start = Instant::now();
        let (mut sent, mut last) = (0, start);
        while waits.len() < total {
            let due = start + gap * sent as u32;
            let now = Instant::now();
            if sent < total
                && due <= now
                && let Some(index) = free.pop_front()
            {
                due_of[index] = due;
                self.connections[index].send()?;
                sent += 1;
                continue;
            }
            // Closer than the timer's resolution: look again at once. This core has nothing else to do.
            let far = sent < total && due > now + Duration::from_millis(2);
            let timeout = if far || sent == total { EpollTimeout::from(1u8) } else { EpollTimeout::ZERO };
            let before = waits.len();
            self.turn(timeout, |index, _| {
                waits.push(due_of[index].elapsed());
                free.push_back(index);
                Ok(())
            })?;
            last = watch(last, (waits.len() - before) as u64)?;
        }
        Ok(Latency::of(waits))
    }

    /// One look at the sockets: `answered` is called for each complete answer.
    fn turn(&mut self, timeout: EpollTimeout, mut answered: impl FnMut(usize, &mut Connection) -> Result<()>) -> Result<()> {
        let mut events = [EpollEvent::empty(); 128];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            let index = usize::try_from(event.data())?;
            let connection = &mut self.connections[index];
            if event.events().contains(EpollFlags::EPOLLOUT) {
                connection.flush()?;
            }
            // One read that ends an answer has emptied the socket: the next answer is another edge.
            if connection.receive(&mut self.buffer)? == Progress::Answered {
                answered(index, connection)?;
            }
        }
        Ok(())
    }
}

/// Fails when nothing has come for too long.
fn watch(last: Instant, came: u64) -> Result<Instant> {
    if came > 0 {
        return Ok(Instant::now());
    }
    if last.elapsed() > STALL { Err(format!("no answer for {STALL:?}").into()) } else { Ok(last) }
}
