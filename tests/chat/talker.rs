//! Somebody at the chat, who remembers every packet.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::peer::{CLOSE, Frame, PING, PONG, Peer, TEXT};
use crate::support::wait;

/// Less than the chat takes from one connection before it says "too many packets": at once, and the time between two after that.
const BURST: u32 = 50;
const PACE: Duration = Duration::from_millis(60);

pub struct Talker {
    address: SocketAddr,
    key: String,
    tags: Value,
    peer: Peer,
    number: u32,
    /// When the next packet would be due if there was no burst.
    due: Instant,
    /// How often the connection was made.
    pub connections: u32,
    /// What came besides answers; of lines that came twice, the first.
    pub packets: Vec<Value>,
}

impl Talker {
    /// Connects as who has this key.
    pub fn connect(address: SocketAddr, key: &str) -> Self {
        let peer = reach(address);
        let key = format!("a-key-of-somebody-{key}");
        let mut talker = Self { address, key, tags: json!([]), peer, number: 0, due: Instant::now(), connections: 1, packets: Vec::new() };
        let answer = talker.ask(json!({ "cmd": "hello", "key": talker.key }));
        assert_eq!(answer["error"], Value::Null, "{answer}");
        talker
    }

    /// Connects, takes a name and goes into rooms.
    pub fn enter(address: SocketAddr, name: &str, tags: &[&str]) -> Self {
        let mut talker = Self::connect(address, name);
        let answer = talker.ask(json!({ "cmd": "setUsername", "username": name }));
        assert_eq!(answer["error"], Value::Null, "{answer}");
        talker.go(tags);
        talker
    }

    /// Goes into these rooms and no others.
    pub fn go(&mut self, tags: &[&str]) {
        self.tags = json!(tags);
        self.ask(json!({ "cmd": "setTags", "tags": tags }));
    }

    /// Sends a packet, as fast as the chat allows. When the connection is gone it is lost; who reads notices that.
    pub fn send(&mut self, packet: &Value) {
        let now = Instant::now();
        self.due = self.due.max(now) + PACE;
        let early = self.due.saturating_duration_since(now + PACE * BURST);
        if !early.is_zero() {
            wait::pause(early);
        }
        let _gone = self.peer.text(&packet.to_string());
    }

    /// Sends a packet, again after a broken connection, and gives its answer.
    pub fn ask(&mut self, mut packet: Value) -> Value {
        self.number += 1;
        let id = packet["id"].as_str().map_or_else(|| format!("n{}", self.number), str::to_owned);
        packet["id"] = id.clone().into();
        loop {
            self.send(&packet);
            let connections = self.connections;
            while connections == self.connections {
                match self.next() {
                    Some(packet) if packet["type"] == "cmdReply" && packet["id"] == id => return packet,
                    Some(packet) => self.keep(packet),
                    None => {}
                }
            }
        }
    }

    pub fn say(&mut self, text: &str, tag: &str, id: &str) -> Value {
        self.ask(json!({ "cmd": "sendMessage", "text": text, "tags": [tag], "id": id }))
    }

    /// The first packet for which this holds, of those that came and those that come.
    pub fn sees(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(packet) = self.packets.iter().find(|packet| wanted(packet)) {
                return packet.clone();
            }
            if let Some(packet) = self.next() {
                self.keep(packet);
            }
        }
    }

    pub fn sees_text(&mut self, text: &str) -> Value {
        self.sees(|packet| packet["text"] == text)
    }

    /// The texts of the messages that came, in their order.
    pub fn texts(&self) -> Vec<&str> {
        self.packets.iter().filter(|packet| packet["mtype"] == "pub").filter_map(|packet| packet["text"].as_str()).collect()
    }

    /// Reads the history of a room after a time; the texts.
    pub fn history(&mut self, tag: &str, after: f64) -> Vec<String> {
        self.packets.clear();
        self.ask(json!({ "cmd": "getHistory", "tags": [tag], "lastTS": after }));
        self.texts().into_iter().map(str::to_owned).collect()
    }

    /// Who is in a room.
    pub fn people(&mut self, tag: &str) -> Vec<String> {
        self.packets.clear();
        self.ask(json!({ "cmd": "getUserlist", "tags": [tag] }));
        let list = self.sees(|packet| packet["type"] == "userlist");
        list["userlist"].as_array().unwrap().iter().map(|person| person["username"].as_str().unwrap().to_owned()).collect()
    }

    /// The code with which the server closes the connection.
    pub fn closed(&mut self) -> u16 {
        self.peer.closed()
    }

    /// Sends far more than the chat takes, without a pause.
    pub fn flood(&mut self) {
        for _ in 0..4 * BURST {
            let _gone = self.peer.text(r#"{"cmd":"keepalive"}"#);
        }
    }

    fn keep(&mut self, packet: Value) {
        if packet["_id"].is_null() || !self.packets.iter().any(|other| other["_id"] == packet["_id"]) {
            self.packets.push(packet);
        }
    }

    /// Reads on until the connection was made anew, unless it was before.
    pub fn reconnected(&mut self) {
        while self.connections == 1 {
            if let Some(packet) = self.next() {
                self.keep(packet);
            }
        }
    }

    /// What comes next; nothing when the connection had to be made anew.
    fn next(&mut self) -> Option<Value> {
        match self.peer.receive() {
            Ok(Frame { opcode: TEXT, payload }) => {
                let packet: Value = serde_json::from_slice(&payload).unwrap();
                if packet["type"] == "gap" {
                    self.read_again();
                } else if packet["cmd"] == "getHistory" && packet["id"].is_null() && packet["more"] == true {
                    self.read_after(packet["last"].as_f64().unwrap());
                }
                Some(packet)
            }
            Ok(Frame { opcode: PING, payload }) => {
                let _gone = self.peer.send(PONG, &payload);
                None
            }
            Ok(Frame { opcode: CLOSE, payload }) => {
                assert_eq!(payload.get(..2), Some(&1001_u16.to_be_bytes()[..]), "a worker that goes says so");
                self.reconnect();
                None
            }
            Ok(other) => panic!("{other:?}"),
            // The worker was killed.
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                self.reconnect();
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Does what the page does: says who it is and where it was, and asks for what it missed.
    fn reconnect(&mut self) {
        self.peer = reach(self.address);
        self.connections += 1;
        let (key, tags) = (self.key.clone(), self.tags.clone());
        self.send(&json!({ "cmd": "hello", "key": key }));
        self.send(&json!({ "cmd": "setTags", "tags": tags }));
        self.read_again();
    }

    /// Asks for what may have been missed.
    fn read_again(&mut self) {
        let last =
            self.packets.iter().filter(|packet| packet["_id"].is_string()).filter_map(|packet| packet["ts"].as_f64()).fold(0.0, f64::max);
        self.read_after(last - 10.0);
    }

    fn read_after(&mut self, time: f64) {
        let tags = self.tags.clone();
        self.send(&json!({ "cmd": "getHistory", "tags": tags, "lastTS": time, "oldest": true }));
    }
}

/// A connection, to a worker that does not go.
fn reach(address: SocketAddr) -> Peer {
    let mut peer = None;
    wait::until("a connection", || {
        peer = Peer::connect(address, "/").ok();
        peer.is_some()
    });
    peer.unwrap()
}
