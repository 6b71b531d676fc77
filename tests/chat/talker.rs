//! Somebody at the chat, who remembers every packet.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::peer::Peer;

pub struct Talker {
    peer: Peer,
    number: u32,
    /// What came besides answers.
    pub packets: Vec<Value>,
}

impl Talker {
    /// Connects as who has this key.
    pub fn connect(address: SocketAddr, key: &str) -> Self {
        let mut talker = Self { peer: Peer::connect(address, "/").unwrap(), number: 0, packets: Vec::new() };
        let answer = talker.ask(json!({ "cmd": "hello", "key": format!("a-key-of-somebody-{key}") }));
        assert_eq!(answer["error"], Value::Null, "{answer}");
        talker
    }

    /// Connects, takes a name and goes into rooms.
    pub fn enter(address: SocketAddr, name: &str, tags: &[&str]) -> Self {
        let mut talker = Self::connect(address, name);
        let answer = talker.ask(json!({ "cmd": "setUsername", "username": name }));
        assert_eq!(answer["error"], Value::Null, "{answer}");
        talker.ask(json!({ "cmd": "setTags", "tags": tags }));
        talker
    }

    pub fn send(&mut self, packet: &Value) {
        self.peer.text(&packet.to_string()).unwrap();
    }

    /// Sends a packet and gives its answer.
    pub fn ask(&mut self, mut packet: Value) -> Value {
        self.number += 1;
        let id = packet["id"].as_str().map_or_else(|| format!("n{}", self.number), str::to_owned);
        packet["id"] = id.clone().into();
        self.send(&packet);
        loop {
            let packet = self.next();
            if packet["type"] == "cmdReply" && packet["id"] == id {
                return packet;
            }
            self.packets.push(packet);
        }
    }

    pub fn say(&mut self, text: &str, tag: &str, id: &str) -> Value {
        self.ask(json!({ "cmd": "sendMessage", "text": text, "tags": [tag], "id": id }))
    }

    /// The first packet for which this holds, of those that came and those that come.
    pub fn sees(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(packet) = self.packets.iter().find(|packet| wanted(packet)) {
            return packet.clone();
        }
        loop {
            let packet = self.next();
            self.packets.push(packet.clone());
            if wanted(&packet) {
                return packet;
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

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.peer.line()).unwrap()
    }
}
