//! A small HTTP/1.1 client over blocking sockets, independent of the server's code.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence that is not a failure.
const SILENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    /// As they came; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without the chunked coding.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; anything else than UTF-8 shows as replacement characters.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the server ends the connection after it.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    /// What came and is not read yet.
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// `GET path` that keeps the connection.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())?;
        self.read_reply()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one whole answer to a request that was not HEAD. Nothing at all before the end is [`ErrorKind::ConnectionAborted`], an end in
    /// the middle [`ErrorKind::UnexpectedEof`].
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        let head = self.read_head()?;
        let text = String::from_utf8(head).map_err(|_| invalid("head is no text"))?;
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| invalid(&format!("status line: {text:?}")))?;
        let headers: Option<Vec<(String, String)>> =
            lines.map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))).collect();
        let mut reply = Reply { status, headers: headers.ok_or_else(|| invalid("header line"))?, body: Vec::new() };
        reply.body = self.read_body(&reply).map_err(torn)?;
        Ok(reply)
    }

    fn read_head(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(self.buffer.drain(..end + 4).collect());
            }
            let began = !self.buffer.is_empty();
            self.fill().map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof if !began => Error::new(ErrorKind::ConnectionAborted, "closed before an answer"),
                _ if began => torn(error),
                _ => error,
            })?;
        }
    }

    fn read_body(&mut self, reply: &Reply) -> io::Result<Vec<u8>> {
        if reply.status == 204 || reply.status == 304 {
            return Ok(Vec::new());
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            return self.read_chunks();
        }
        match reply.header("content-length") {
            Some(length) => self.take(length.parse().map_err(|_| invalid("Content-Length"))?),
            None => {
                let ended = loop {
                    if let Err(error) = self.fill() {
                        break error;
                    }
                };
                if ended.kind() == ErrorKind::UnexpectedEof { Ok(std::mem::take(&mut self.buffer)) } else { Err(ended) }
            }
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line()?;
            let length = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).map_err(|_| invalid("chunk size"))?;
            if length == 0 {
                // Trailers end with an empty line.
                while !self.take_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(length)?);
            if self.take(2)? != b"\r\n" {
                return Err(invalid("end of a chunk"));
            }
        }
    }

    fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).map_err(|_| invalid("line is no text"));
            }
            self.fill()?;
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            length => {
                self.buffer.extend_from_slice(&bytes[..length]);
                Ok(())
            }
        }
    }

    /// The socket, for what HTTP does not know.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// `GET path` on a connection of its own, which the server is asked to close.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Reply> {
    let mut client = Client::connect(address)?;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())?;
    client.read_reply()
}

/// An answer that began and was reset is torn, which is something else than a connection that ended before one.
fn torn(error: Error) -> Error {
    if error.kind() == ErrorKind::ConnectionReset {
        Error::new(ErrorKind::UnexpectedEof, "reset in the middle of an answer")
    } else {
        error
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
