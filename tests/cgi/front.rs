//! A front that speaks FastCGI, one request a connection, by the codec alone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use skep::codec::fastcgi::{BeginRequest, Kind, RESPONDER, decode, write_end, write_pair, write_record};

/// What the front got: STDOUT as it came, and whether an end followed.
pub struct Answer {
    pub output: String,
    /// It ended as the protocol wants it.
    pub ended: bool,
}

/// Asks for `path` with more parameters, and a body.
pub fn ask(socket: &Path, path: &str, parameters: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let method = if body.is_empty() { "GET" } else { "POST" };
    let length = body.len().to_string();
    let mut all = Vec::new();
    let usual = [("REQUEST_METHOD", method), ("REQUEST_URI", path), ("HTTP_HOST", "front.example"), ("CONTENT_LENGTH", length.as_str())];
    for (name, value) in usual.iter().chain(parameters) {
        write_pair(name.as_bytes(), value.as_bytes(), &mut all);
    }
    let mut out = Vec::new();
    BeginRequest { role: RESPONDER, keep: false }.write(1, &mut out);
    write_record(Kind::Params, 1, &all, &mut out);
    write_end(Kind::Params, 1, &mut out);
    write_record(Kind::Stdin, 1, body, &mut out);
    write_end(Kind::Stdin, 1, &mut out);
    stream.write_all(&out).expect("sent");
    let mut input = Vec::new();
    stream.read_to_end(&mut input).expect("an answer");
    let (mut output, mut ended) = (Vec::new(), false);
    let mut rest = &input[..];
    // What breaks off ends with what is no record, so that no front takes it for whole.
    while rest != [0; 8]
        && let Some(record) = decode(rest).expect("records")
    {
        match record.kind {
            Kind::Stdout => output.extend_from_slice(record.content),
            Kind::EndRequest => ended = true,
            _ => {}
        }
        rest = &rest[record.consumed..];
    }
    Answer { output: String::from_utf8_lossy(&output).into_owned(), ended }
}
