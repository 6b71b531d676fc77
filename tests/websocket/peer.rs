//! A WebSocket client over a blocking socket, independent of the server's code: it can also do what a client must not.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence that is not a failure.
const SILENCE: Duration = Duration::from_secs(10);

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

pub struct Peer {
    pub stream: TcpStream,
    pub head: String,
    buffer: Vec<u8>,
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

impl Peer {
    /// Asks for an upgrade with these further fields, and reads the head of the answer, whatever it is.
    pub fn ask(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let usual = [
            ("Host", "test"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let replaced = |name: &str| fields.iter().any(|(other, _)| *other == name);
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        for (name, value) in usual.iter().filter(|(name, _)| !replaced(name)).chain(fields) {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.push_str("\r\n");
        let mut peer = Self { stream, head: String::new(), buffer: Vec::new() };
        peer.stream.write_all(request.as_bytes())?;
        let end = loop {
            if let Some(end) = peer.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            peer.fill()?;
        };
        peer.head = String::from_utf8_lossy(&peer.buffer.drain(..end).collect::<Vec<u8>>()).into_owned();
        Ok(peer)
    }

    /// A connection that was upgraded.
    pub fn connect(address: SocketAddr, path: &str) -> Result<Self> {
        let peer = Self::ask(address, path, &[])?;
        if peer.status() == 101 { Ok(peer) } else { Err(Error::new(ErrorKind::ConnectionRefused, peer.head)) }
    }

    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a whole frame.
    pub fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.raw(&frame(0x80 | opcode, payload))
    }

    pub fn text(&mut self, text: &str) -> Result<()> {
        self.send(TEXT, text.as_bytes())
    }

    pub fn receive(&mut self) -> Result<Frame> {
        let head = self.take(2)?;
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.take(2)?.try_into().unwrap())),
            127 => u64::from_be_bytes(self.take(8)?.try_into().unwrap()),
            length => u64::from(length),
        };
        let payload = self.take(usize::try_from(length).unwrap())?;
        Ok(Frame { opcode: head[0] & 0x0f, payload })
    }

    /// The next text.
    pub fn line(&mut self) -> String {
        loop {
            let frame = self.receive().unwrap();
            match frame.opcode {
                TEXT => return String::from_utf8(frame.payload).unwrap(),
                PING => self.send(PONG, &frame.payload).unwrap(),
                PONG => {}
                other => panic!("opcode {other}: {:?}", frame.payload),
            }
        }
    }

    /// Sends a text and gives the answer.
    pub fn say(&mut self, text: &str) -> String {
        self.text(text).unwrap();
        self.line()
    }

    /// Reads on until the server closes; the code, or 1006 when it ends without one.
    pub fn closed(&mut self) -> u16 {
        loop {
            match self.receive() {
                Ok(Frame { opcode: CLOSE, payload }) => {
                    return payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return 1006,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Whether the server has ended the connection, with nothing more before.
    pub fn is_over(&mut self) -> bool {
        matches!(self.receive(), Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn fill(&mut self) -> Result<()> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// A masked frame with this first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
