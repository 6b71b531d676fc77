//! The least that a server can do: one `epoll_wait` for many sockets, one `read` and one `write` for each request, nothing parsed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Prepared, logged};
use crate::Result;
use crate::folder::Folder;
use crate::site;

/// The event of the listening socket.
const LISTENER: u64 = u64::MAX;

pub fn prepare(address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--serve-kernel-limit").arg(address.to_string());
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}

/// Serves the fixed answer to everything, until the process is ended.
pub fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    // The headers that nginx sends too, so that as many bytes are copied.
    let answer = format!(
        "HTTP/1.1 200 OK\r\nServer: kernel/1.00.0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n{}",
        site::FIXED.len(),
        site::FIXED
    );
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut events = [EpollEvent::empty(); 512];
    let mut buffer = [0; 4096];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            let slot = &mut connections[usize::try_from(event.data())?];
            if let Some(stream) = slot
                && !exchange(stream, &mut buffer, answer.as_bytes())
            {
                *slot = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, epoll: &Epoll, connections: &mut Vec<Option<TcpStream>>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET | EpollFlags::EPOLLRDHUP;
                epoll.add(&stream, EpollEvent::new(interest, connections.len() as u64))?;
                connections.push(Some(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Answers what is there; `false` when the connection is over.
fn exchange(stream: &mut TcpStream, buffer: &mut [u8], answer: &[u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        // The answer is far smaller than a socket's buffer and only one is under way, so it goes in whole.
        Ok(_) => matches!(stream.write(answer), Ok(length) if length == answer.len()),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
