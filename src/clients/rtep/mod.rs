//! A client of an RTEP server: docs/rtep.md.
//!
//! One connection, made when it is first used and again, with growing pauses, whenever it breaks. Subscriptions outlast it: they are renewed, and
//! each is told that events may be missing. A request fails with its connection, for nobody knows whether it was done.

pub mod config;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use event_listener::Event;
use serde_json::{Map, Value};

use crate::codec::rtep::{EventName, Input, Lines, Packet, event_request_line, request_line};
use crate::net::Stream;
use crate::reactor::{self, sleep, timeout};
use crate::rtep::{Hear, Local, News, Remote};

use config::RtepClient as Config;

/// How much is read at once.
const PIECE: usize = 16 << 10;

/// Makes a connection to an address of the configuration.
pub type Connect = Rc<dyn Fn(&str) -> Pin<Box<dyn Future<Output = io::Result<Stream>>>>>;

/// A client.
pub struct RtepClient {
    this: Weak<Self>,
    config: Config,
    connect: Connect,
    is_running: Cell<bool>,
    is_connected: Cell<bool>,
    connected: Event,
    next: Cell<u64>,
    output: RefCell<BytesMut>,
    waker: RefCell<Option<Waker>>,
    pending: RefCell<HashMap<u64, Rc<Answer>>>,
    subscriptions: RefCell<BTreeMap<String, Vec<(u64, Hear)>>>,
    /// Lines that came on this connection.
    heard: Cell<u64>,
}

/// What a response is waited for with.
#[derive(Default)]
struct Answer {
    result: RefCell<Option<Result<Map<String, Value>, String>>>,
    came: Event,
}

impl Answer {
    fn give(&self, result: Result<Map<String, Value>, String>) {
        self.result.replace(Some(result));
        self.came.notify(usize::MAX);
    }

    async fn wait(&self) -> Result<Map<String, Value>, String> {
        loop {
            let came = self.came.listen();
            if let Some(result) = self.result.take() {
                return result;
            }
            came.await;
        }
    }
}

/// Ends a subscription when it is dropped.
struct Subscription {
    client: Weak<RtepClient>,
    name: String,
    number: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(client) = self.client.upgrade() else { return };
        let mut subscriptions = client.subscriptions.borrow_mut();
        let Some(all) = subscriptions.get_mut(&self.name) else { return };
        all.retain(|(number, _)| *number != self.number);
        if all.is_empty() {
            subscriptions.remove(&self.name);
            drop(subscriptions);
            client.send_names("unsubscribeEvents", &[&self.name]);
        }
    }
}

impl RtepClient {
    /// A client that has not connected yet.
    #[must_use]
    pub fn new(config: Config, connect: Connect) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            config,
            connect,
            is_running: Cell::new(false),
            is_connected: Cell::new(false),
            connected: Event::new(),
            next: Cell::new(1),
            output: RefCell::default(),
            waker: RefCell::default(),
            pending: RefCell::default(),
            subscriptions: RefCell::default(),
            heard: Cell::new(0),
        })
    }

    fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    /// Begins to connect, the first time.
    fn start(&self) {
        if !self.is_running.replace(true) {
            reactor::spawn(keep_connected(self.this.clone())).detach();
        }
    }

    fn send(&self, line: &[u8]) {
        self.output.borrow_mut().extend_from_slice(line);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Sends a request whose response nobody waits for. Without a connection there is nothing to say: a new one begins with what holds then.
    fn send_names(&self, op: &str, names: &[&str]) {
        if self.is_connected.get() {
            let mut fields = Map::new();
            fields.insert("events".to_owned(), names.into());
            self.send(&request_line(self.number(), op, &fields));
        }
    }

    /// Sends what `line` makes of the request's number, and waits for the response.
    fn ask(&self, limit: Duration, line: impl FnOnce(u64) -> Vec<u8> + 'static) -> Local<Result<Map<String, Value>, String>> {
        let Some(this) = self.this.upgrade() else { return Box::pin(std::future::ready(Err("the client has ended".to_owned()))) };
        this.start();
        Box::pin(async move {
            let number = this.number();
            let asked = async {
                loop {
                    let connected = this.connected.listen();
                    if this.is_connected.get() {
                        break;
                    }
                    connected.await;
                }
                if this.pending.borrow().len() >= this.config.max_pending as usize {
                    return Err(format!("{}: too many requests wait for their responses", this.config.address));
                }
                let answer = Rc::new(Answer::default());
                this.pending.borrow_mut().insert(number, answer.clone());
                this.send(&line(number));
                answer.wait().await
            };
            let result = timeout(limit, asked).await;
            this.pending.borrow_mut().remove(&number);
            result.unwrap_or_else(|_| Err(format!("{}: no response in time", this.config.address)))
        })
    }

    /// Speaks over a connection until it breaks.
    async fn speak(&self, stream: &Stream, again: bool) {
        self.output.borrow_mut().clear();
        self.heard.set(0);
        self.is_connected.set(true);
        let all: Vec<String> = self.subscriptions.borrow().keys().cloned().collect();
        if !all.is_empty() {
            let names: Vec<&str> = all.iter().map(String::as_str).collect();
            self.send_names("subscribeEvents", &names);
            if again {
                all.iter().for_each(|name| self.tell(name, &News::Missed(None)));
            }
        }
        self.connected.notify(usize::MAX);
        let mut lines = Lines::of_client(usize::try_from(*self.config.max_line).unwrap_or(usize::MAX));
        let mut buffer = vec![0; PIECE].into_boxed_slice();
        futures_lite::future::or(poll_fn(|cx| self.poll(cx, stream, &mut lines, &mut buffer)), self.watch()).await;
        self.is_connected.set(false);
        let pending = self.pending.take();
        pending.into_values().for_each(|answer| answer.give(Err(format!("{}: the connection broke", self.config.address))));
    }

    /// Returns when the server has been silent for too long.
    async fn watch(&self) {
        let mut silent = 0;
        loop {
            let before = self.heard.get();
            sleep(*self.config.ping).await;
            silent = if self.heard.get() == before { silent + 1 } else { 0 };
            // The task that keeps the connection is the last who knows the client: the configuration has it no more.
            if silent >= 2 || self.this.strong_count() <= 1 {
                return;
            }
            self.send(&request_line(self.number(), "ping", &Map::new()));
        }
    }

    fn poll(&self, cx: &mut Context<'_>, stream: &Stream, lines: &mut Lines, buffer: &mut [u8]) -> Poll<()> {
        loop {
            let mut output = self.output.borrow_mut();
            while !output.is_empty() {
                match stream.poll_write_vectored(cx, &[IoSlice::new(&output)]) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(count)) => output.advance(count),
                    Poll::Pending => break,
                }
            }
            drop(output);
            self.waker.replace(Some(cx.waker().clone()));
            match stream.poll_read(cx, buffer) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => lines.push(&buffer[..count]),
                Poll::Pending => return Poll::Pending,
            }
            while let Some(input) = lines.pull() {
                match input {
                    Input::Packet(packet) => self.hear(packet),
                    // What this version does not understand is no reason to lose the connection.
                    Input::Bad(_) | Input::Http(_) => {}
                    Input::TooLong | Input::Interrupt => return Poll::Ready(()),
                }
            }
        }
    }

    fn hear(&self, packet: Packet) {
        self.heard.set(self.heard.get() + 1);
        match packet {
            Packet::Response { id, fields } => {
                let answer = id.as_u64().and_then(|id| self.pending.borrow_mut().remove(&id));
                if let Some(answer) = answer {
                    answer.give(Ok(fields));
                }
            }
            Packet::Event(event) => {
                let Some(name) = event.get("name").and_then(Value::as_str).map(str::to_owned) else { return };
                self.tell(&name, &News::Event(Rc::new(event)));
            }
            Packet::Request { id, op, .. } if op == "ping" => {
                let mut fields = Map::new();
                fields.insert("msg".to_owned(), "pong".into());
                self.send(&crate::codec::rtep::response_line(&id, &op, &fields));
            }
            Packet::Missed { name, count } => match name {
                Some(name) => self.tell(&name, &News::Missed(count)),
                None => {
                    let all: Vec<String> = self.subscriptions.borrow().keys().cloned().collect();
                    all.iter().for_each(|name| self.tell(name, &News::Missed(count)));
                }
            },
            Packet::Request { .. } | Packet::Other(_) => {}
        }
    }

    /// Tells all who subscribed to an event, whatever their arguments.
    fn tell(&self, name: &str, news: &News) {
        let name = EventName::new(name).name;
        let heard: Vec<Hear> = {
            let subscriptions = self.subscriptions.borrow();
            let of_name = subscriptions.iter().filter(|(text, _)| EventName::new(text).name == name);
            of_name.flat_map(|(_, all)| all.iter().map(|(_, hear)| hear.clone())).collect()
        };
        heard.into_iter().for_each(|hear| hear(news.clone()));
    }
}

/// Connects again and again, for as long as there is the client.
async fn keep_connected(client: Weak<RtepClient>) {
    let mut pause = None;
    let mut again = false;
    loop {
        let Some(client) = client.upgrade() else { return };
        let config = &client.config;
        let connecting = (client.connect)(&config.address);
        match timeout(*config.connect_timeout, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                client.speak(&stream, again).await;
                again = true;
                if client.heard.get() > 0 {
                    pause = None;
                }
                crate::log_info!("rtep: {}: the connection broke", config.address);
            }
            Err(error) => crate::log_warn!("rtep: {}: {error}", config.address),
        }
        let wait: Duration = pause.unwrap_or(*config.shortest_pause);
        pause = Some((wait * 2).min(*config.longest_pause));
        drop(client);
        sleep(wait).await;
    }
}

impl Remote for RtepClient {
    fn request(&self, op: &str, fields: Map<String, Value>, limit: Duration) -> Local<Result<Map<String, Value>, String>> {
        let op = op.to_owned();
        self.ask(limit, move |number| request_line(number, &op, &fields))
    }

    fn publish(&self, name: &str, data: Bytes, limit: Duration) -> Local<Result<(), String>> {
        let name = name.to_owned();
        let asked = self.ask(limit, move |number| event_request_line(number, &name, &data));
        Box::pin(async move {
            let response = asked.await?;
            if response.get("status").and_then(Value::as_i64) == Some(1) {
                return Ok(());
            }
            let why = response.get("error").and_then(Value::as_str);
            Err(why.unwrap_or("the server refused the event").to_owned())
        })
    }

    fn subscribe(&self, name: &str, hear: Hear) -> Box<dyn Any> {
        self.start();
        let number = self.number();
        let is_first = {
            let mut subscriptions = self.subscriptions.borrow_mut();
            let all = subscriptions.entry(name.to_owned()).or_default();
            all.push((number, hear));
            all.len() == 1
        };
        if is_first {
            self.send_names("subscribeEvents", &[name]);
        }
        Box::new(Subscription { client: self.this.clone(), name: name.to_owned(), number })
    }
}
