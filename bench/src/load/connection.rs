//! One keep-alive connection and the check of what comes back on it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::Result;

/// Longest head of an answer that is accepted.
const HEAD: usize = 8 * 1024;

/// A request and the only answer to it that is right.
#[derive(Clone)]
pub struct Exchange {
    /// The whole request.
    request: Vec<u8>,
    /// Status and body; a `Content-Length` is required. Other headers are not looked at. None: no HTTP, the answer is the body alone.
    status: Option<u16>,
    body: std::sync::Arc<[u8]>,
    /// What is asked the next time, in turns with this.
    other: Option<Box<Exchange>>,
}

impl Exchange {
    /// `GET path`, answered by 200 and this body.
    pub fn get(path: &str, body: impl Into<std::sync::Arc<[u8]>>) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: skep-bench\r\nAccept: */*\r\n\r\n");
        Self { request: request.into_bytes(), status: Some(200), body: body.into(), other: None }
    }

    /// These bytes, answered by those.
    pub fn plain(request: impl Into<Vec<u8>>, answer: impl Into<std::sync::Arc<[u8]>>) -> Self {
        Self { request: request.into(), status: None, body: answer.into(), other: None }
    }

    /// This and `other` in turns.
    pub fn then(self, other: Self) -> Self {
        Self { other: Some(Box::new(other)), ..self }
    }

    /// Takes the other one's turn.
    fn turn(&mut self) {
        if let Some(mut other) = self.other.take() {
            std::mem::swap(self, &mut other);
            self.other = Some(other);
        }
    }

    pub fn request(&self) -> &[u8] {
        &self.request
    }
}

/// What a read led to.
#[derive(Debug, PartialEq)]
pub enum Progress {
    /// The answer is complete and right.
    Answered,
    /// More must come first.
    Waiting,
}

/// A connection, and how far the present exchange is.
pub struct Connection {
    stream: TcpStream,
    exchange: Exchange,
    /// Bytes of the request that are sent; all of them while none is under way.
    sent: usize,
    answer: Answer,
}

impl Connection {
    pub fn open(address: SocketAddr, mut exchange: Exchange) -> Result<Self> {
        // Each request begins with a turn.
        exchange.turn();
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let sent = exchange.request.len();
        Ok(Self { stream, exchange, sent, answer: Answer::default() })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Begins the next request.
    pub fn send(&mut self) -> Result<()> {
        self.exchange.turn();
        self.sent = 0;
        self.answer = Answer { under_way: true, head: std::mem::take(&mut self.answer.head), ..Answer::default() };
        self.answer.head.clear();
        self.flush()
    }

    /// Sends what is left of the request, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<()> {
        while self.sent < self.exchange.request.len() {
            match self.stream.write(&self.exchange.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there and checks it.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Progress> {
        if !self.answer.under_way {
            return self.idle(buffer);
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection in the middle of an exchange".into()),
                Ok(count) => {
                    if self.answer.take(&buffer[..count], &self.exchange)? {
                        self.answer.under_way = false;
                        return Ok(Progress::Answered);
                    }
                    // A short read emptied the socket: an edge-triggered poller tells when there is more.
                    if count < buffer.len() {
                        return Ok(Progress::Waiting);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waiting),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Nothing was asked: nothing may come. The end of the connection is found when it is used next.
    fn idle(&self, buffer: &mut [u8]) -> Result<Progress> {
        match self.stream.peek(buffer) {
            Ok(0) => Err("the server closed a keep-alive connection".into()),
            Ok(_) => Err("the server sent more than the answer".into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Progress::Waiting),
            Err(error) => Err(error.into()),
        }
    }
}

/// An answer as far as it has come.
#[derive(Default)]
pub struct Answer {
    under_way: bool,
    /// The head, until it is complete.
    head: Vec<u8>,
    in_body: bool,
    /// Bytes of the body that came and were right.
    body: usize,
}

impl Answer {
    /// Checks the next bytes; `true` when the answer is complete.
    pub fn take(&mut self, bytes: &[u8], exchange: &Exchange) -> Result<bool> {
        if self.in_body || exchange.status.is_none() {
            return self.take_body(bytes, exchange);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4) else {
            if self.head.len() > HEAD {
                return Err("the head of an answer does not end".into());
            }
            return Ok(false);
        };
        check_head(&self.head[..end], exchange)?;
        self.in_body = true;
        self.take_body(&bytes[end - before..], exchange)
    }

    fn take_body(&mut self, bytes: &[u8], exchange: &Exchange) -> Result<bool> {
        let rest = &exchange.body[self.body..];
        if bytes.len() > rest.len() || rest[..bytes.len()] != *bytes {
            let came = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            return Err(format!("wrong body after {} bytes: {came:?}", self.body).into());
        }
        self.body += bytes.len();
        Ok(self.body == exchange.body.len())
    }
}

fn check_head(head: &[u8], exchange: &Exchange) -> Result<()> {
    let text = std::str::from_utf8(head)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()) != exchange.status {
        return Err(format!("wrong status: {status:?}").into());
    }
    let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.map(|(_, value)| value.trim().parse::<usize>()) {
        Some(Ok(length)) if length == exchange.body.len() => Ok(()),
        other => Err(format!("wrong Content-Length: {other:?}, expected {}", exchange.body.len()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Exchange};

    fn take(parts: &[&str]) -> Result<bool, String> {
        let exchange = Exchange::get("/", *b"Hello, /");
        let mut answer = Answer::default();
        let mut complete = false;
        for part in parts {
            complete = answer.take(part.as_bytes(), &exchange).map_err(|e| e.to_string())?;
        }
        Ok(complete)
    }

    #[test]
    fn an_answer_may_come_in_pieces() {
        assert_eq!(take(&["HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nHello, /"]), Ok(true));
        assert_eq!(take(&["HTTP/1.1 200 OK\r\nContent-Length: 8\r", "\n\r", "\nHel", "lo, /"]), Ok(true));
        assert_eq!(take(&["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nHello"]), Ok(false));
    }

    #[test]
    fn a_wrong_answer_is_an_error() {
        for wrong in [
            "HTTP/1.1 500 Oops\r\nContent-Length: 8\r\n\r\nHello, /",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHello, /",
            "HTTP/1.1 200 OK\r\n\r\nHello, /",
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nHello, x",
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nHello, /and more",
        ] {
            assert!(take(&[wrong]).is_err(), "{wrong}");
        }
    }
}
