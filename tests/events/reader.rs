//! Clients: one that publishes all the time, ones that read and come back where they were, one that does not read.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::server::send;
use crate::support::{client, wait};

/// How long a reader waits for a byte before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// Epoch and offset.
pub type Place = (u64, u64);

fn place(value: &Value) -> Option<Place> {
    Some((value["epoch"].as_f64()? as u64, value["offset"].as_f64()? as u64))
}

/// Everything that was acknowledged: the number published, by its place.
#[derive(Debug, Default)]
pub struct Acknowledged {
    pub events: BTreeMap<Place, u64>,
    pub last: Place,
}

/// Publishes growing numbers, one after the other. One that fails is not published again.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    pub filling: Arc<AtomicU64>,
    thread: JoinHandle<Acknowledged>,
}

impl Publisher {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, count, filling) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted, filled) = (stop.clone(), count.clone(), filling.clone());
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Acknowledged::default();
            let mut number = 0_u64;
            while !stopped.load(Relaxed) {
                number += 1;
                let path = format!("/publish?n={number}&filling={}", filled.load(Relaxed));
                let Ok(reply) = client::get(address, &path) else { continue };
                let Some(place) = serde_json::from_slice(&reply.body).ok().as_ref().and_then(place) else { continue };
                assert_eq!(acknowledged.events.insert(place, number), None, "a place is given once");
                acknowledged.last = place;
                counted.fetch_add(1, Relaxed);
            }
            acknowledged
        });
        Self { stop, count, filling, thread }
    }

    /// Waits until so many more are acknowledged.
    pub fn published(&self, more: u64) {
        let goal = self.count.load(Relaxed) + more;
        wait::until("publications", || self.count.load(Relaxed) >= goal);
    }

    pub fn stop(self) -> Acknowledged {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the publisher")
    }
}

/// What a reader has seen.
#[derive(Debug, Default)]
pub struct Tally {
    pub events: usize,
    /// How often it was told that something may be missing.
    pub told: usize,
    /// How often its connection ended.
    pub broken: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// In the order of arrival.
    events: Vec<(Place, u64)>,
    /// Before which of them something may be missing.
    holes: Vec<usize>,
    /// The last event, or where it was told to be.
    at: Option<Place>,
    tally: Tally,
}

/// Reads a stream, and when that ends, another one from where it was.
pub struct Reader {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: JoinHandle<()>,
}

impl Reader {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Seen>>::default());
        let (stopped, shared) = (stop.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            let mut at: Option<Place> = None;
            while !stopped.load(Relaxed) {
                let query = at.map(|(epoch, offset)| format!("&epoch={epoch}&offset={offset}")).unwrap_or_default();
                if let Some(lines) = open(address, &format!("/stream?queue=100000{query}")) {
                    read(lines, &stopped, &shared, &mut at);
                    shared.lock().expect("seen").tally.broken += usize::from(!stopped.load(Relaxed));
                }
            }
        });
        Self { stop, seen, thread }
    }

    /// Waits for the last event, and checks everything.
    pub fn stop(self, acknowledged: &Acknowledged) -> Tally {
        wait::until(format!("the last event {:?}", acknowledged.last), || {
            let at = self.seen.lock().expect("seen").at;
            at.is_some_and(|(epoch, offset)| epoch == acknowledged.last.0 && offset >= acknowledged.last.1)
        });
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the reader");
        let seen = std::mem::take(&mut *self.seen.lock().expect("seen"));
        check(&seen, acknowledged);
        Tally { events: seen.events.len(), ..seen.tally }
    }
}

/// Nothing twice, nothing out of order, nothing missing but where that was told, nothing but what was published.
fn check(seen: &Seen, acknowledged: &Acknowledged) {
    let mut known = BTreeMap::new();
    let mut before: Option<Place> = None;
    for (index, (place, number)) in seen.events.iter().enumerate() {
        assert_eq!(known.insert(*place, *number), None, "{place:?} came twice");
        if let Some(expected) = acknowledged.events.get(place) {
            assert_eq!(expected, number, "at {place:?}");
        }
        if let Some((epoch, offset)) = before
            && !seen.holes.contains(&index)
        {
            assert_eq!(*place, (epoch, offset + 1), "a hole that was not told");
        }
        before = Some(*place);
    }
}

/// The lines behind the head of a reply.
fn open(address: SocketAddr, path: &str) -> Option<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LOOK)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").ok()?;
    Some(BufReader::new(stream))
}

/// The next whole line; `None` at the end of the stream. Silence is waited through unless `stop` is set.
fn line(lines: &mut BufReader<TcpStream>, stop: &AtomicBool) -> Option<String> {
    let mut line = Vec::new();
    loop {
        match lines.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => return String::from_utf8(line).ok(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !stop.load(Relaxed) => {}
            _ => return None,
        }
    }
}

fn read(mut lines: BufReader<TcpStream>, stop: &AtomicBool, shared: &Mutex<Seen>, at: &mut Option<Place>) {
    while let Some(line) = line(&mut lines, stop) {
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        let mut seen = shared.lock().expect("seen");
        let next = seen.events.len();
        match value["kind"].as_str() {
            Some("event") => {
                let place = place(&value).expect("an event has a place");
                seen.events.push((place, value["data"]["n"].as_f64().expect("a number") as u64));
                *at = Some(place);
            }
            Some("ready") if value["recovered"] == Value::Bool(false) => {
                seen.tally.told += 1;
                seen.holes.push(next);
                *at = place(&value);
            }
            Some("gap") => {
                seen.tally.told += 1;
                seen.holes.push(next);
                *at = place(&value);
            }
            Some("missed") => panic!("nobody was slow: {line}"),
            _ => {}
        }
        seen.at = *at;
    }
}

/// A subscriber that does not read until it is told to.
pub struct Stalled(BufReader<TcpStream>);

impl Stalled {
    pub fn open(address: SocketAddr, queue: usize) -> Self {
        Self::open_topic(address, queue, "t")
    }

    pub fn open_topic(address: SocketAddr, queue: usize, pattern: &str) -> Self {
        let mut lines = open(address, &format!("/stream?queue={queue}&topic={pattern}")).expect("connected");
        while !line(&mut lines, &AtomicBool::new(false)).expect("open").contains("open") {}
        Self(lines)
    }

    /// Reads until something comes.
    pub fn until(&mut self, mut found: impl FnMut(&Value) -> bool) {
        while let Some(line) = line(&mut self.0, &AtomicBool::new(false)) {
            if found(&serde_json::from_str(&line).expect("JSON")) {
                return;
            }
        }
        panic!("the stream has ended");
    }

    /// Reads until the last event: how many events came, and how many were said to be missing.
    pub fn read_all(mut self, last: Place) -> (usize, usize) {
        let (mut events, mut missed) = (0, 0);
        while let Some(line) = line(&mut self.0, &AtomicBool::new(false)) {
            let value: Value = serde_json::from_str(&line).expect("JSON");
            match value["kind"].as_str() {
                Some("event") => events += 1,
                Some("missed") => {
                    missed += value["count"].as_u64().or_else(|| Some(value["count"].as_f64()? as u64)).expect("a count") as usize;
                }
                _ => {}
            }
            if place(&value) == Some(last) {
                break;
            }
        }
        (events, missed)
    }
}

/// A program that reads a stream into a file, and can be stopped and go on: it takes nothing meanwhile, and its machine says that it is there.
pub struct Stopped {
    folder: tempfile::TempDir,
    child: std::process::Child,
}

impl Stopped {
    pub fn open(address: SocketAddr, queue: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--no-buffer", "--output"])
            .arg(folder.path().join("lines"))
            .arg(format!("http://{address}/stream?queue={queue}"));
        let reader = Self { folder, child: curl.spawn().expect("curl: tests/peers/http.sh installs it") };
        wait::until("the stream to be open", || !reader.lines().is_empty());
        reader.signal(Signal::SIGSTOP);
        reader
    }

    fn signal(&self, signal: Signal) {
        send(i32::try_from(self.child.id()).expect("a process id"), signal);
    }

    /// Whole lines that came.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("lines")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Goes on to the last event: how many events came, and how many were said to be missing.
    pub fn go_on_to(self, last: Place) -> (usize, usize) {
        self.signal(Signal::SIGCONT);
        wait::until("the last event", || self.lines().last().and_then(place) == Some(last));
        let lines = self.lines();
        let count = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
        let missed: f64 = count("missed").map(|line| line["count"].as_f64().expect("a count")).sum();
        (count("event").count(), missed as usize)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who is present, and hears who else comes and goes.
pub struct Present(BufReader<TcpStream>);

impl Present {
    pub fn enter(address: SocketAddr, id: &str) -> Self {
        let mut lines = open(address, &format!("/present?id={id}")).expect("connected");
        while line(&mut lines, &AtomicBool::new(false)).expect("open") != "here\n" {}
        Self(lines)
    }

    /// Reads until somebody has come or gone, and gives what was told before.
    pub fn hears(&mut self, what: &str) -> Vec<String> {
        let (mut before, mut line, begun) = (Vec::new(), String::new(), Instant::now());
        while begun.elapsed() < wait::PATIENCE {
            match self.0.read_line(&mut line) {
                Ok(0) => break,
                Ok(_) if line.trim_end() == what => return before,
                Ok(_) if line.ends_with('\n') => before.push(std::mem::take(&mut line).trim_end().to_owned()),
                // Silence: what came of a line stays.
                _ => {}
            }
        }
        panic!("before {what:?} came only {before:?}");
    }
}
