//! WebSocket connections that only listen, and the one who publishes: every message is checked to come once, in order and on every connection.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Result;

/// Longest silence that is not a failure.
const SILENCE: Duration = Duration::from_secs(20);
/// Bytes of a message, as JSON.
const LENGTH: usize = 100;
/// Digits of a message's number, behind a `#` that stands nowhere else.
const DIGITS: usize = 8;
/// Bytes read at once.
const READ: usize = 64 << 10;

/// What a contender's clients say and hear besides messages.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// What a client says first, as text.
    pub hello: Option<&'static str>,
    /// Whether it is answered before the first message.
    pub greets: bool,
    /// A text that asks whether the client lives, and is answered with itself.
    pub asks: Option<&'static str>,
}

/// Connections that listen.
pub struct Subscribers {
    epoll: Epoll,
    all: Vec<Subscriber>,
    dialect: Dialect,
    buffer: Vec<u8>,
    address: SocketAddr,
}

struct Subscriber {
    stream: TcpStream,
    /// The beginning of a frame that is not complete.
    rest: Vec<u8>,
    /// The number of the next message; none before the first.
    next: Option<u32>,
    /// How often it was asked whether it lives.
    asked: u32,
}

/// What the frames of a read were.
#[derive(Default)]
struct Heard {
    messages: usize,
    /// Texts that are no messages.
    others: usize,
}

/// What a look at the sockets showed.
struct Look {
    messages: usize,
    /// Of how many there was something to read.
    sockets: usize,
}

impl Subscribers {
    pub fn new(address: SocketAddr, dialect: Dialect) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, all: Vec::new(), dialect, buffer: vec![0; READ], address })
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Opens connections until there are `count`.
    pub fn grow(&mut self, count: usize) -> Result<()> {
        while self.all.len() < count {
            let subscriber = Subscriber::open(self.address, self.dialect)?;
            self.epoll.add(&subscriber.stream, EpollEvent::new(EpollFlags::EPOLLIN, self.all.len() as u64))?;
            self.all.push(subscriber);
            if self.all.len().is_multiple_of(256) {
                self.rest(Instant::now())?;
            }
        }
        Ok(())
    }

    /// Reads until every connection has got so many messages more. Gives when each of them came.
    pub fn gather(&mut self, messages: usize) -> Result<Vec<Instant>> {
        let most = messages * self.all.len();
        let mut came = Vec::with_capacity(most);
        let mut last = Instant::now();
        while came.len() < most {
            // Without waiting: to wake somebody who sleeps on the same machine would cost the server time that its real clients never cost it.
            let count = self.turn(EpollTimeout::ZERO)?.messages;
            let now = Instant::now();
            if count > 0 {
                last = now;
            } else if last.elapsed() > SILENCE {
                return Err(format!("{} of {most} messages came", came.len()).into());
            }
            came.resize(came.len() + count, now);
        }
        if came.len() > most {
            return Err(format!("{} messages came for {most}", came.len()).into());
        }
        let next = self.all.first().and_then(|first| first.next);
        // Each of them counted without a hole, so nobody has another's message when all are equally far.
        if self.all.iter().any(|subscriber| subscriber.next != next) { Err("some got more than others".into()) } else { Ok(came) }
    }

    /// Only answers who asks, until `end`, or until nobody asks just now if that is over. No message may come.
    pub fn rest(&mut self, end: Instant) -> Result<()> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let looked = self.turn(EpollTimeout::try_from(left.min(Duration::from_secs(1)))?)?;
            if looked.messages > 0 {
                return Err("a message came that was not published".into());
            }
            if left.is_zero() && looked.sockets == 0 {
                return Ok(());
            }
        }
    }

    /// How often the one that was asked least was asked whether it lives.
    pub fn least_asked(&self) -> u32 {
        self.all.iter().map(|subscriber| subscriber.asked).min().unwrap_or(0)
    }

    /// One look at the sockets.
    fn turn(&mut self, limit: EpollTimeout) -> Result<Look> {
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, limit) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut messages = 0;
        for event in &events[..count] {
            let subscriber = &mut self.all[usize::try_from(event.data())?];
            match subscriber.stream.read(&mut self.buffer) {
                Ok(0) => return Err("a connection was closed".into()),
                Ok(length) => messages += subscriber.take(&self.buffer[..length], self.dialect)?.messages,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Look { messages, sockets: count })
    }
}

impl Subscriber {
    fn open(address: SocketAddr, dialect: Dialect) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )?;
        let mut head = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            let length = stream.read(&mut buffer)?;
            head.extend_from_slice(&buffer[..length]);
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if length == 0 || head.len() > READ {
                return Err("an upgrade was not answered".into());
            }
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(format!("an upgrade was refused: {:?}", String::from_utf8_lossy(&head[..head.len().min(80)])).into());
        }
        let mut subscriber = Self { stream, rest: Vec::new(), next: None, asked: 0 };
        if let Some(hello) = dialect.hello {
            subscriber.say(0x1, hello.as_bytes())?;
        }
        let mut greeted = subscriber.take(&head[end..], dialect)?.others;
        while dialect.greets && greeted == 0 {
            let length = subscriber.stream.read(&mut buffer)?;
            if length == 0 {
                return Err("a connection was closed before it was greeted".into());
            }
            greeted = subscriber.take(&buffer[..length], dialect)?.others;
        }
        subscriber.stream.set_nonblocking(true)?;
        Ok(subscriber)
    }

    /// Sends a frame. Its mask is zeros: it protects proxies, of which there are none (RFC 6455, 5.3).
    fn say(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len())?, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        // So few bytes always fit into the socket.
        Ok(self.stream.write_all(&frame)?)
    }

    fn take(&mut self, bytes: &[u8], dialect: Dialect) -> Result<Heard> {
        let mut heard = Heard::default();
        let joined = std::mem::take(&mut self.rest);
        let joined = if joined.is_empty() { None } else { Some([&joined, bytes].concat()) };
        let mut left = joined.as_deref().unwrap_or(bytes);
        while let Some((opcode, payload, after)) = frame(left)? {
            left = after;
            match opcode {
                0x1 | 0x2 if dialect.asks.is_some_and(|asks| asks.as_bytes() == payload.trim_ascii()) => {
                    self.asked += 1;
                    self.say(0x1, payload)?;
                }
                0x1 | 0x2 => {
                    let messages = self.count(payload)?;
                    heard.messages += messages;
                    heard.others += usize::from(messages == 0);
                }
                0x9 => {
                    self.asked += 1;
                    self.say(0xA, payload)?;
                }
                0x8 => return Err(format!("the server closed: {:?}", String::from_utf8_lossy(payload)).into()),
                _ => return Err(format!("a frame of the kind {opcode} came").into()),
            }
        }
        self.rest = left.to_vec();
        Ok(heard)
    }

    /// The messages in a payload; each must be the one after that before it.
    fn count(&mut self, payload: &[u8]) -> Result<usize> {
        let mut count = 0;
        for at in payload.iter().enumerate().filter(|(_, byte)| **byte == b'#').map(|(at, _)| at + 1) {
            let digits = payload.get(at..at + DIGITS).ok_or("a message was cut off")?;
            let number: u32 = std::str::from_utf8(digits)?.parse()?;
            if self.next.is_some_and(|next| next != number) {
                return Err(format!("message {number} came instead of {:?}", self.next).into());
            }
            self.next = Some(number + 1);
            count += 1;
        }
        Ok(count)
    }
}

/// A frame's opcode, its payload, and what comes after it.
type Frame<'a> = (u8, &'a [u8], &'a [u8]);

/// The first frame of a server, if it is complete.
fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xF0 != 0x80 || second & 0x80 != 0 {
        return Err("a frame in pieces, compressed or masked".into());
    }
    let (length, rest) = match (second, rest) {
        (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        (126, _) => return Ok(None),
        (127, _) => return Err("a frame of more than 64 KiB".into()),
        (length, rest) => (usize::from(*length), rest),
    };
    Ok(rest.split_at_checked(length).map(|(payload, after)| (first & 0x0F, payload, after)))
}

/// The one who publishes, by POST over one connection.
pub struct Publisher {
    stream: TcpStream,
    number: u32,
    /// The end of what was answered last: a head may come in pieces.
    tail: VecDeque<u8>,
    /// Publications that are not answered.
    open: usize,
}

/// How an answer begins that says that it was done.
const DONE: &[u8] = b"HTTP/1.1 20";

impl Publisher {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream, number: 0, tail: VecDeque::new(), open: 0 })
    }

    /// Publishes messages in one go. Gives the moment before.
    pub fn publish(&mut self, count: usize) -> Result<Instant> {
        let mut requests = Vec::new();
        for _ in 0..count {
            let body = format!("{{\"text\":\"#{:08} \"}}", self.number);
            let body = body.replace(' ', &" and so on and on".repeat(LENGTH)[..=LENGTH - body.len()]);
            write!(
                requests,
                "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            self.number += 1;
        }
        self.open += count;
        let start = Instant::now();
        self.stream.write_all(&requests)?;
        Ok(start)
    }

    /// Waits until everything that was published is answered.
    pub fn confirm(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        while self.open > 0 {
            let length = self.stream.read(&mut buffer)?;
            if length == 0 {
                return Err("the publisher's connection was closed".into());
            }
            for byte in &buffer[..length] {
                self.tail.push_back(*byte);
                if self.tail.len() < DONE.len() {
                    continue;
                }
                let begins = |known: &[u8]| self.tail.iter().zip(known).all(|(came, known)| came == known);
                if begins(DONE) {
                    self.open = self.open.checked_sub(1).ok_or("more answers than questions")?;
                } else if begins(b"HTTP/1.1 ") {
                    return Err("a publication was refused".into());
                }
                self.tail.pop_front();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn frames_come_whole_or_not_at_all() {
        assert_eq!(frame(b"\x81\x02hi\x89").unwrap(), Some((1, &b"hi"[..], &b"\x89"[..])));
        for part in [&b""[..], b"\x81", b"\x81\x02h", b"\x81\x7e\x00"] {
            assert_eq!(frame(part).unwrap(), None, "{part:?}");
        }
        for wrong in [&b"\xc1\x00"[..], b"\x01\x00", b"\x81\x80"] {
            assert!(frame(wrong).is_err(), "{wrong:?}");
        }
    }
}
