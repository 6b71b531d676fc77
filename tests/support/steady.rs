//! A steady load of new and of kept connections, to be looked at when something is done to the server meanwhile.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::{self, Client, Reply};
use super::wait;

/// Between two requests of one client: the load is steady, not the most that is possible.
const PACE: Duration = Duration::from_millis(2);

/// What the load saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Right answers.
    pub answers: u64,
    /// Requests sent again on a new connection, because the kept one ended before a byte of the answer came. HTTP allows a server to end a
    /// kept connection at any time, and every client does this (RFC 9112, 9.3.1); it is no failure.
    pub repeated: u64,
    /// What went wrong.
    pub failures: Vec<String>,
    /// How long each answer took.
    pub times: Vec<Duration>,
}

impl Tally {
    /// The time that 99 of 100 answers did not exceed.
    pub fn p99(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.repeated += other.repeated;
        self.failures.extend(other.failures);
        self.times.extend(other.times);
    }
}

/// Clients at work, until they are told to stop.
pub struct Steady {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What the clients ask and what is a right answer to it.
pub type Check = fn(&Reply) -> bool;

impl Steady {
    /// Starts clients that ask for `path`: `kept` of them keep their connection, `fresh` open one for every request.
    pub fn start(address: SocketAddr, path: &'static str, check: Check, kept: usize, fresh: usize) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..kept + fresh).map(|number| {
            let (stop, answers) = (stop.clone(), answers.clone());
            thread::spawn(move || run(address, path, check, number < kept, &stop, &answers))
        });
        let clients = clients.collect();
        Self { stop, answers, clients }
    }

    /// Right answers so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Waits until the clients have got this many answers more: what was done before is then behind them.
    pub fn answered(&self, more: u64) {
        let before = self.answers();
        wait::until("the load goes on", || self.answers() >= before + more || self.clients.iter().all(JoinHandle::is_finished));
    }

    /// Ends the load.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            all.add(client.join().expect("a client does not panic"));
        }
        all
    }
}

/// One client. It gives up after many failures, so that a broken server ends the test soon.
fn run(address: SocketAddr, path: &str, check: Check, keeps: bool, stop: &AtomicBool, answers: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut kept: Option<Client> = None;
    while !stop.load(Relaxed) && tally.failures.len() < 20 {
        let start = Instant::now();
        let reply = if keeps { ask_kept(address, path, &mut kept, &mut tally.repeated) } else { client::get(address, path) };
        match reply {
            Ok(reply) if check(&reply) => {
                tally.answers += 1;
                tally.times.push(start.elapsed());
                answers.fetch_add(1, Relaxed);
            }
            Ok(reply) => tally.failures.push(format!("wrong answer: {} {:?}", reply.status, reply.text())),
            Err(error) => tally.failures.push(format!("{} connection: {error}", if keeps { "kept" } else { "new" })),
        }
        wait::pause(PACE);
    }
    tally
}

fn ask_kept(address: SocketAddr, path: &str, kept: &mut Option<Client>, repeated: &mut u64) -> io::Result<Reply> {
    let ended =
        |error: &io::Error| matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    if let Some(mut client) = kept.take() {
        match client.get(path) {
            Err(error) if ended(&error) => *repeated += 1,
            other => return keep(client, other, kept),
        }
    }
    let mut client = Client::connect(address)?;
    let reply = client.get(path);
    keep(client, reply, kept)
}

fn keep(client: Client, reply: io::Result<Reply>, kept: &mut Option<Client>) -> io::Result<Reply> {
    if reply.as_ref().is_ok_and(|reply| !reply.closes()) {
        *kept = Some(client);
    }
    reply
}
