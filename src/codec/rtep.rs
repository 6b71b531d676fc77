//! RTEP, the Real-Time Events Protocol of the original, both sides: docs/rtep.md.
//!
//! Packets are JSON objects, one a line. A line ends with LF, a CR before it is not part of it. The telnet sequences for an interrupt and for the
//! end of a file ask for the end of the connection. A connection whose first line begins with GET, POST or PUT is an HTTP request: its answer
//! has a body of chunks (RFC 9112, section 7.1) that never ends, one a packet, and behind its header requests go on as lines.

mod event;
mod lines;
mod packet;

pub use event::{EventName, event_line, publication};
pub use lines::{Head, Input, Lines};
pub use packet::{BadPacket, Packet, event_request_line, missed_line, parse, request_line, response_line};

/// The beginning of the answer to a connection that is an HTTP request.
pub const HTTP_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/json\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
/// What an HTTP request from a page of another origin gets.
pub const HTTP_FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// The end of a body that ends after all, when the server does.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A line as a chunk of an HTTP body.
#[must_use]
pub fn chunk(line: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", line.len()).into_bytes();
    chunk.reserve_exact(line.len() + 2);
    chunk.extend_from_slice(line);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

#[cfg(test)]
mod tests;
