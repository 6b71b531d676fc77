//! A client that knows nothing but bytes and JSON.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::wait::PATIENCE;

/// One connection.
pub struct Peer {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    next: u64,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option");
        Self { stream, buffer: Vec::new(), next: 1 }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the peer reads");
    }

    /// Nothing more is sent.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// The next bytes are these.
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        while self.buffer.len() < expected.len() && self.fill() {}
        let count = self.buffer.len().min(expected.len());
        let got: Vec<u8> = self.buffer.drain(..count).collect();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    }

    pub fn exchange(&mut self, sent: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
        self.send(sent);
        self.expect(expected);
    }

    /// The connection ends, and nothing comes before.
    pub fn expect_end(&mut self) {
        while self.fill() {}
        assert_eq!(String::from_utf8_lossy(&self.buffer), "");
    }

    /// The next line.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8(line).expect("UTF-8"));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Value {
        let line = self.line().expect("a packet");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next event.
    pub fn event(&mut self) -> Value {
        loop {
            let mut packet = self.packet();
            if packet["type"] == "event" {
                return packet["event"].take();
            }
        }
    }

    /// Sends a request, and gives its response; events that come before are passed over.
    pub fn request(&mut self, request: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        self.send(format!("{}\n", json!({"id": id, "type": "request", "request": request})));
        loop {
            let mut packet = self.packet();
            if packet["type"] == "response" && packet["id"] == id {
                return packet["response"].take();
            }
        }
    }

    pub fn subscribe(&mut self, names: &[&str]) -> Value {
        self.request(&json!({"op": "subscribeEvents", "events": names}))["status"].take()
    }

    pub fn publish(&mut self, event: &Value) -> Value {
        self.request(&json!({"op": "event", "event": event}))["status"].take()
    }

    /// Whether nothing comes for a moment but answers to pings: everything that was on its way before is there then.
    pub fn is_quiet(&mut self) -> bool {
        self.send("{\"id\":\"quiet\",\"type\":\"request\",\"request\":{\"op\":\"ping\"}}\n");
        let packet = self.packet();
        packet["id"] == "quiet" && self.buffer.is_empty()
    }
}

/// Whether the server ends a connection within `limit` of its own.
pub fn ends_within(stream: &mut TcpStream, limit: Duration) -> bool {
    let start = Instant::now();
    stream.set_read_timeout(Some(limit)).expect("an option");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).is_ok() && start.elapsed() <= limit
}
