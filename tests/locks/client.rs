//! A client that sends and expects lines.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::wait::PATIENCE;

pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// What was sent last, for messages.
    last: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        Self { stream, reader, last: Vec::new() }
    }

    /// Connects and says `hello 2`.
    pub fn extended(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.exchange(b"hello 2\n", b"HELLO 2\n");
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.last = bytes.to_vec();
        self.stream.write_all(bytes).expect("sent");
    }

    /// The next bytes are these, no more is looked at.
    pub fn expect(&mut self, bytes: &[u8]) {
        for wanted in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = self.line();
            assert_eq!(String::from_utf8_lossy(&line), String::from_utf8_lossy(wanted));
        }
    }

    pub fn exchange(&mut self, send: &[u8], expect: &[u8]) {
        self.send(send);
        self.expect(expect);
    }

    /// The next line with its end; empty at the end of the connection.
    pub fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(_) => line,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Vec::new(),
            Err(error) => panic!("no line after {:?}: {error}", String::from_utf8_lossy(&self.last)),
        }
    }

    /// Sends a line, gives the answer's words.
    pub fn ask(&mut self, line: &str) -> Vec<String> {
        self.send(format!("{line}\n").as_bytes());
        self.words()
    }

    pub fn words(&mut self) -> Vec<String> {
        String::from_utf8_lossy(&self.line()).split_whitespace().map(str::to_owned).collect()
    }

    /// Sends, and leaves it to reading to notice that the connection is broken.
    pub fn try_send(&mut self, bytes: &[u8]) {
        self.last = bytes.to_vec();
        let _broken = self.stream.write_all(bytes);
    }

    /// Sends a command about a lock and gives what is said of that lock; `None` when the connection is broken.
    pub fn ask_of(&mut self, line: &str) -> Option<Vec<String>> {
        self.try_send(format!("{line}\n").as_bytes());
        self.answer_of(line.split(' ').nth(1).expect("a name"))
    }

    /// What is said next of a lock, but that an earlier lease of it was lost; `None` when the connection is broken.
    pub fn answer_of(&mut self, name: &str) -> Option<Vec<String>> {
        loop {
            let words = self.words();
            if words.is_empty() {
                return None;
            }
            if words[0] != "LOST" && words.get(1).is_some_and(|of| of == name) {
                return Some(words);
            }
        }
    }

    /// Nothing more comes: the server has closed.
    pub fn expect_end(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.line()), "");
    }
}

/// The value of an option of an answer.
pub fn value(words: &[String], name: &str) -> u64 {
    let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {words:?}"))
}
