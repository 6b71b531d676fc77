//! Asking name servers: UDP first, TCP when the answer does not fit (RFC 1035 section 4.2, RFC 7766).

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::DnsError;
use super::system::System;
use crate::net::{Socket, Stream};
use crate::reactor::{Io, timeout};

/// The largest datagram: answers beyond 512 bytes come truncated, as we announce no more.
const MAX_DATAGRAM: usize = 4096;
/// Datagrams that are no answer to our question are ignored, but not for ever.
const MAX_STRAY: usize = 32;

/// Asks the servers in order, from the `first` on, until one gives what `is_answer` takes for an answer. A server that fails is passed over while others are left.
pub(super) async fn ask(
    system: &System,
    first: usize,
    name: &str,
    question: &[u8],
    is_answer: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, DnsError> {
    let count = system.servers.len();
    let mut last = DnsError::TimedOut(name.to_owned());
    let mut failure = None;
    for _ in 0..system.attempts {
        for server in system.servers.iter().cycle().skip(first % count.max(1)).take(count) {
            match timeout(system.timeout, ask_server(*server, question, &is_answer)).await {
                Ok(Ok(answer)) if server_failed(&answer) => failure = Some(answer),
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = DnsError::Failed(name.to_owned(), format!("name server {}: {error}", server.ip())),
                Err(_) => {}
            }
        }
        if let Some(answer) = failure.take() {
            return Ok(answer);
        }
    }
    Err(last)
}

/// SERVFAIL or REFUSED: another server may know better.
fn server_failed(answer: &[u8]) -> bool {
    answer.get(3).is_some_and(|flags| matches!(flags & 15, 2 | 5))
}

fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 2 != 0)
}

async fn ask_server(server: SocketAddr, question: &[u8], is_answer: &impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    // A socket for each question: its port is part of what a forger would have to guess.
    let own: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(own)?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    let socket = Io::new(socket)?;
    socket.write_with(|socket| socket.send(question)).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    for _ in 0..MAX_STRAY {
        let length = socket.read_with(|socket| socket.recv(&mut buffer)).await?;
        let answer = &buffer[..length];
        if !is_answer(answer) {
            continue;
        }
        return if is_truncated(answer) { ask_over_tcp(server, question, is_answer).await } else { Ok(answer.to_vec()) };
    }
    Err(io::Error::other("nothing but strange answers"))
}

async fn ask_over_tcp(server: SocketAddr, question: &[u8], is_answer: &impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let stream = Stream::from(Socket::connect_tcp(server).await?);
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut length = [0; 2];
    read_exact(&stream, &mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    read_exact(&stream, &mut answer).await?;
    if is_answer(&answer) { Ok(answer) } else { Err(io::Error::other("a strange answer")) }
}

async fn read_exact(stream: &Stream, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
    }
    Ok(())
}
