//! An exchange over a connection of HTTP/1.1.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::exchange::{Announced, Asked, Exchange, HOST};
use crate::support::client::Reply;

/// Longest silence that is not a failure.
const SILENCE: Duration = Duration::from_secs(20);
/// What is read at once.
const PIECE: usize = 256 << 10;

pub struct Http1 {
    stream: TcpStream,
    /// What came and is not used yet.
    input: Vec<u8>,
    buffer: Vec<u8>,
    chunked: bool,
    head_only: bool,
    left: Left,
}

/// What is still to come of the answer's body.
enum Left {
    Bytes(u64),
    /// A chunk's size comes next.
    Chunk,
    /// So much of a chunk, and the line end behind it.
    OfChunk(usize),
    UntilClose,
    Nothing,
}

impl Http1 {
    pub fn open(address: SocketAddr, asked: Asked<'_>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let Asked { method, target, fields, body } = asked;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n");
        for (name, value) in fields {
            head.extend([name, ": ", value, "\r\n"]);
        }
        match body {
            Announced::None => {}
            Announced::Length(length) => head.extend(["Content-Length: ", &length.to_string(), "\r\n"]),
            Announced::Unknown => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        Ok(Self {
            stream,
            input: Vec::new(),
            buffer: vec![0; PIECE],
            chunked: body == Announced::Unknown,
            head_only: method == "HEAD",
            left: Left::Nothing,
        })
    }

    fn fill(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.input.extend_from_slice(&self.buffer[..read]);
                Ok(())
            }
            // However it ends in the middle, it is not whole.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        }
    }

    /// Takes so many bytes off the input: copied as a whole, not byte by byte as an iterator would without optimisation.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.input.split_off(count);
        std::mem::replace(&mut self.input, rest)
    }

    /// What stands in front of `end`, which is taken with it.
    fn until(&mut self, end: &[u8]) -> io::Result<String> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|window| window == end) {
                let taken = self.take(at + end.len());
                return String::from_utf8(taken[..at].to_vec()).map_err(|_| invalid("no text"));
            }
            self.fill()?;
        }
    }

    /// At most `most` bytes.
    fn some(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.input.is_empty() {
            self.fill()?;
        }
        Ok(self.take(most.min(self.input.len())))
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

impl Exchange for Http1 {
    fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        if !self.chunked {
            return self.stream.write_all(piece);
        }
        self.stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
        self.stream.write_all(piece)?;
        self.stream.write_all(b"\r\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.chunked { self.stream.write_all(b"0\r\n\r\n") } else { Ok(()) }
    }

    fn head(&mut self) -> io::Result<Reply> {
        let (status, headers) = loop {
            let head = self.until(b"\r\n\r\n")?;
            let mut lines = head.split("\r\n");
            let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse::<u16>().ok());
            let status = status.ok_or_else(|| invalid(&head))?;
            let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
            let headers: Option<Vec<_>> = lines.map(field).collect();
            // 100 Continue is no answer.
            if status >= 200 {
                break (status, headers.ok_or_else(|| invalid(&head))?);
            }
        };
        let reply = Reply { status, headers, body: Vec::new() };
        self.left = if self.head_only || status == 204 || status == 304 {
            Left::Nothing
        } else if reply.header("transfer-encoding") == Some("chunked") {
            Left::Chunk
        } else if let Some(length) = reply.header("content-length") {
            Left::Bytes(length.parse().map_err(|_| invalid("Content-Length"))?)
        } else {
            Left::UntilClose
        };
        Ok(reply)
    }

    fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.left {
            Left::Nothing | Left::Bytes(0) => Ok(None),
            Left::Bytes(left) => {
                let piece = self.some(usize::try_from(left).unwrap_or(usize::MAX))?;
                self.left = Left::Bytes(left - piece.len() as u64);
                Ok(Some(piece))
            }
            Left::Chunk => {
                let size = self.until(b"\r\n")?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(|_| invalid(&size))?;
                if size == 0 {
                    while !self.until(b"\r\n")?.is_empty() {}
                    self.left = Left::Nothing;
                    return Ok(None);
                }
                self.left = Left::OfChunk(size);
                self.piece()
            }
            Left::OfChunk(left) => {
                let piece = self.some(left)?;
                self.left = Left::OfChunk(left - piece.len());
                if left == piece.len() {
                    if !self.until(b"\r\n")?.is_empty() {
                        return Err(invalid("the end of a chunk"));
                    }
                    self.left = Left::Chunk;
                }
                Ok(Some(piece))
            }
            Left::UntilClose => match self.some(usize::MAX) {
                Ok(piece) => Ok(Some(piece)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
                Err(error) => Err(error),
            },
        }
    }
}
