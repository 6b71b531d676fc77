//! Bytes to packets.

use bytes::{Buf, BytesMut};
use memchr::{memchr, memmem};

use super::packet::{BadPacket, Packet, parse};

/// What telnet clients send for an interrupt: IAC IP, IAC DO TIMING-MARK (RFC 854, RFC 860).
const INTERRUPT: &[u8] = b"\xff\xf4\xff\xfd\x06";
/// What telnet clients send to end a file: IAC EOF (RFC 1184, section 2.1).
const END_OF_FILE: &[u8] = b"\xff\xec";
/// The longest header of an HTTP request, bytes.
const MAX_HEAD: usize = 16 << 10;
/// A buffer with room for more is given back when it is empty.
const KEPT: usize = 4 << 10;

/// A piece of what a peer sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A packet.
    Packet(Packet),
    /// The header of an HTTP request has ended: packets follow, and every answer is a chunk of its body.
    Http(Head),
    /// A line that is no packet.
    Bad(BadPacket),
    /// A line, or a header, is too long. Nothing comes after it.
    TooLong,
    /// The telnet sequences that ask for the end of the connection. Nothing comes after it.
    Interrupt,
}

/// What matters of the header of an HTTP request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The page that makes a browser send this; none when no browser does.
    pub origin: Option<String>,
}

/// What the next line is.
#[derive(Debug, Default)]
enum Stage {
    /// The first line.
    #[default]
    First,
    /// A field of an HTTP request; so many bytes were before it.
    Field(Head, usize),
    Packets,
    Over,
}

/// Bytes to packets, of a connection's server side or (with [`Lines::of_client`]) its client side.
#[derive(Debug)]
pub struct Lines {
    buffer: BytesMut,
    /// Where no end of a line is, as far as is known.
    seen: usize,
    stage: Stage,
    max_line: usize,
}

impl Lines {
    /// What a server reads: lines of `max_line` bytes at most, their ends not counted.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self { buffer: BytesMut::new(), seen: 0, stage: Stage::First, max_line }
    }

    /// What a client reads: the first line is a packet too.
    #[must_use]
    pub fn of_client(max_line: usize) -> Self {
        Self { stage: Stage::Packets, ..Self::new(max_line) }
    }

    /// Takes bytes as they come. Pull until there is nothing more before the next ones: then what waits here is never more than a line.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.stage, Stage::Over) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// What comes next; `None` when it is not whole yet.
    pub fn pull(&mut self) -> Option<Input> {
        loop {
            if matches!(self.stage, Stage::Over) {
                return None;
            }
            let Some(end) = memchr(b'\n', &self.buffer[self.seen..]).map(|at| self.seen + at) else {
                return self.rest();
            };
            if is_interrupt(&self.buffer[..end]) {
                return Some(self.end(Input::Interrupt));
            }
            let mut line = &self.buffer[..end];
            while let [shorter @ .., b'\r'] = line {
                line = shorter;
            }
            if line.len() > self.max_line {
                return Some(self.end(Input::TooLong));
            }
            let input = match std::mem::take(&mut self.stage) {
                Stage::First if line.is_empty() => None,
                Stage::First if is_http(line) => {
                    self.stage = Stage::Field(Head::default(), line.len());
                    None
                }
                Stage::Field(head, _) if line.is_empty() => {
                    self.stage = Stage::Packets;
                    Some(Input::Http(head))
                }
                Stage::Field(_, length) if length + line.len() > MAX_HEAD => return Some(self.end(Input::TooLong)),
                Stage::Field(mut head, length) => {
                    note(&mut head, line);
                    self.stage = Stage::Field(head, length + line.len());
                    None
                }
                Stage::First | Stage::Packets | Stage::Over => {
                    self.stage = Stage::Packets;
                    (!line.is_empty()).then(|| parse(line).map_or_else(Input::Bad, Input::Packet))
                }
            };
            self.buffer.advance(end + 1);
            self.seen = 0;
            if input.is_some() {
                return input;
            }
        }
    }

    /// What is to be said of a line that has no end yet.
    fn rest(&mut self) -> Option<Input> {
        if is_interrupt(&self.buffer[self.seen.saturating_sub(INTERRUPT.len())..]) {
            return Some(self.end(Input::Interrupt));
        }
        self.seen = self.buffer.len();
        // One more for the CR of a line that is just as long as it may be.
        if self.buffer.len() > self.max_line + 1 {
            return Some(self.end(Input::TooLong));
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = BytesMut::new();
        }
        None
    }

    fn end(&mut self, input: Input) -> Input {
        self.stage = Stage::Over;
        self.buffer = BytesMut::new();
        self.seen = 0;
        input
    }
}

fn is_http(line: &[u8]) -> bool {
    [&b"GET"[..], b"POST", b"PUT"].iter().any(|method| line.starts_with(method))
}

/// Keeps what matters of a field.
fn note(head: &mut Head, line: &[u8]) {
    let Some(colon) = memchr(b':', line) else { return };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.eq_ignore_ascii_case(b"origin") {
        head.origin = Some(String::from_utf8_lossy(value.trim_ascii()).into_owned());
    }
}

fn is_interrupt(bytes: &[u8]) -> bool {
    // Without the byte that both begin with there is nothing to look for, which is the rule.
    memchr(0xff, bytes).is_some() && (memmem::find(bytes, INTERRUPT).is_some() || memmem::find(bytes, END_OF_FILE).is_some())
}
