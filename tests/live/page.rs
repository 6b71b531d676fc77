//! Pages: they listen in one of three ways, come back where they were, and check what they get.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::peer::{self, Peer};
use crate::support::client::Client;
use crate::support::wait;

/// How long a page waits for a byte before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// How long a page believes that it is connected when nothing comes: the server shows that it lives every second.
const SILENCE: Duration = Duration::from_secs(4);

/// How a page listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Stream,
    Poll,
    WebSocket,
}

/// Epoch and offset.
pub type Place = (u64, u64);

pub fn place(message: &Value) -> Option<Place> {
    Some((message["epoch"].as_str()?.parse().ok()?, message["offset"].as_u64()?))
}

/// What a page has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub events: Vec<Place>,
    /// Where it began.
    pub first: Option<Place>,
    last: Option<Place>,
    /// Something may be missing before the next event, it was told.
    warned: bool,
    pub told: usize,
    pub goodbyes: usize,
    /// What contradicts the promise.
    pub wrong: Vec<String>,
}

impl Seen {
    fn take(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("event") => self.event(place(message).expect("an event has a place")),
            Some("ready") if message["recovered"] == true => {}
            Some("ready") => {
                let place = place(message);
                if message["recovered"] == false {
                    self.warn();
                } else if self.last.is_some() && place != self.last {
                    self.wrong.push(format!("came back to {place:?} after {:?} without a word", self.last));
                }
                self.first = self.first.or(place);
                self.last = place;
            }
            Some("gap" | "missed") => {
                self.warn();
                self.last = place(message).or(self.last);
            }
            Some("goodbye") => self.goodbyes += 1,
            _ => self.wrong.push(format!("unexpected: {message}")),
        }
    }

    fn warn(&mut self) {
        self.warned = true;
        self.told += 1;
    }

    fn event(&mut self, place: Place) {
        let last = self.last.replace(place);
        let follows = last.is_some_and(|(epoch, offset)| place == (epoch, offset + 1));
        let double = last.is_some_and(|(epoch, offset)| epoch == place.0 && place.1 <= offset);
        if double || !(follows || self.warned) {
            self.wrong.push(format!("{place:?} after {last:?}"));
        }
        self.warned = false;
        self.events.push(place);
    }

    fn since(&self) -> String {
        self.last.map(|(epoch, offset)| format!("t@{epoch}:{offset}")).unwrap_or_default()
    }
}

/// A page that listens in a thread of its own.
pub struct Page {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    pub broken: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Page {
    pub fn open(address: SocketAddr, way: Way) -> Self {
        let (seen, stop, broken) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let listener = Listener { address, seen: seen.clone(), stop: stop.clone() };
        let count = broken.clone();
        let thread = std::thread::spawn(move || {
            while !listener.stop.load(Relaxed) {
                let _ended = match way {
                    Way::Stream => listener.stream(),
                    Way::Poll => listener.poll(),
                    Way::WebSocket => listener.websocket(),
                };
                count.fetch_add(1, Relaxed);
            }
        });
        let page = Self { seen, stop, broken, thread };
        wait::until("the page to listen", || page.look(|seen| seen.first.is_some()));
        page
    }

    pub fn look<R>(&self, see: impl FnOnce(&Seen) -> R) -> R {
        see(&self.seen.lock().expect("no page fails"))
    }

    /// Waits until the page has seen a place, and closes it.
    pub fn close_at(self, last: Place) -> Seen {
        wait::until(format!("the page to see {last:?}"), || {
            self.look(|seen| seen.last >= Some(last) && seen.last.map(|last| last.0) == Some(last.0))
        });
        self.stop.store(true, Relaxed);
        self.thread.join().expect("a page");
        Arc::try_unwrap(self.seen).expect("nobody else").into_inner().expect("no page fails")
    }
}

struct Listener {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Listener {
    fn take(&self, message: &str) {
        let message = serde_json::from_str(message).expect("JSON");
        self.seen.lock().expect("no page fails").take(&message);
    }

    fn since(&self) -> String {
        self.seen.lock().expect("no page fails").since()
    }

    /// HTTP/1.0, so that the body is the lines themselves.
    fn stream(&self) -> io::Result<()> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(LOOK))?;
        write!(socket, "GET /live HTTP/1.0\r\nHost: test\r\nAccept: text/event-stream\r\nLast-Event-ID: {}\r\n\r\n", self.since())?;
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        let mut id = String::new();
        let mut heard = Instant::now();
        while !self.stop.load(Relaxed) {
            match reader.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) if line.ends_with('\n') => heard = Instant::now(),
                Ok(_) => return Ok(()),
                Err(error) if is_silence(&error) && heard.elapsed() < SILENCE => continue,
                Err(error) => return Err(error),
            }
            if let Some(text) = line.strip_prefix("id: ") {
                text.trim_end().clone_into(&mut id);
            } else if let Some(text) = line.strip_prefix("data: ") {
                self.take(text.trim_end());
                if text.contains("\"type\":\"event\"") {
                    assert_eq!(id, self.since(), "the id is the place of the event");
                }
            }
            line.clear();
        }
        Ok(())
    }

    fn poll(&self) -> io::Result<()> {
        while !self.stop.load(Relaxed) {
            let mut client = Client::connect(self.address)?;
            client.stream().set_read_timeout(Some(SILENCE))?;
            let reply = client.get(&format!("/live?poll=1&since={}", self.since()))?;
            if reply.status != 200 {
                return Ok(());
            }
            let answer: Value = serde_json::from_slice(&reply.body).map_err(io::Error::other)?;
            for message in answer["messages"].as_array().expect("messages") {
                self.take(&message.to_string());
            }
            assert_eq!(answer["next"], Value::from(self.since()), "the next place is after the last message");
        }
        Ok(())
    }

    fn websocket(&self) -> io::Result<()> {
        let mut peer = Peer::ask(self.address, &format!("/live?since={}", self.since()), &[])?;
        if peer.status() != 101 {
            return Ok(());
        }
        peer.stream.set_read_timeout(Some(SILENCE))?;
        while !self.stop.load(Relaxed) {
            let frame = peer.receive()?;
            match frame.opcode {
                peer::TEXT => self.take(&String::from_utf8_lossy(&frame.payload)),
                peer::PING => peer.send(peer::PONG, &frame.payload)?,
                peer::CLOSE => {
                    peer.send(peer::CLOSE, &frame.payload)?;
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
