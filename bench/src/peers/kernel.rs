//! The least that a server can do: one `epoll_wait` for many sockets, one `read` and one `write` for each request, nothing parsed. Who asks for
//! `/ws` gets a `write` of its own for each body that comes to `/publish`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Prepared, logged};
use crate::Result;
use crate::folder::Folder;
use crate::site;

/// The load does not check the key (RFC 6455, 4.1).
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// The event of the listening socket.
const LISTENER: u64 = u64::MAX;

pub fn prepare(address: SocketAddr) -> Result<Prepared> {
    let folder = Folder::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--serve-kernel-limit").arg(address.to_string());
    Ok(Prepared { command: logged(command, folder.path())?, folder })
}

/// What came of looking at a connection.
enum Outcome {
    Over,
    Served,
    /// So many bytes that were read are a request which publishes.
    Published(usize),
}

/// A connection.
struct Client {
    stream: TcpStream,
    subscribed: bool,
}

/// Serves the fixed answer to everything else, until the process is ended.
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
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = [EpollEvent::empty(); 512];
    let mut buffer = [0; 4096];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept(&listener, &epoll, &mut clients)?;
                continue;
            }
            let slot = &mut clients[usize::try_from(event.data())?];
            let Some(client) = slot else { continue };
            match exchange(client, &mut buffer, answer.as_bytes()) {
                Outcome::Over => *slot = None,
                Outcome::Served => {}
                Outcome::Published(length) => fan_out(&mut clients, &buffer[..length]),
            }
        }
    }
}

fn accept(listener: &TcpListener, epoll: &Epoll, clients: &mut Vec<Option<Client>>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET | EpollFlags::EPOLLRDHUP;
                epoll.add(&stream, EpollEvent::new(interest, clients.len() as u64))?;
                clients.push(Some(Client { stream, subscribed: false }));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Answers what is there; the first bytes tell requests apart.
fn exchange(client: &mut Client, buffer: &mut [u8], answer: &[u8]) -> Outcome {
    let length = match client.stream.read(buffer) {
        Ok(length) if length > 0 => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Served,
        _ => return Outcome::Over,
    };
    let (answer, outcome) = match &buffer[..length] {
        [b'G', _, _, _, _, b'w', ..] => {
            client.subscribed = true;
            (UPGRADED, Outcome::Served)
        }
        [b'P', ..] => (answer, Outcome::Published(length)),
        _ => (answer, Outcome::Served),
    };
    // The answer is far smaller than a socket's buffer and only one is under way, so it goes in whole.
    match client.stream.write(answer) {
        Ok(written) if written == answer.len() => outcome,
        _ => Outcome::Over,
    }
}

/// Sends the body of a request, which came in one read, as a message to everybody who is subscribed. It has 100 bytes (`load::Publisher`).
fn fan_out(clients: &mut [Option<Client>], request: &[u8]) {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return };
    let body = &request[end + 4..];
    let frame = [&[0x81, body.len() as u8], body].concat();
    for client in clients.iter_mut().flatten().filter(|client| client.subscribed) {
        // What does not fit is missed by the load, which says so.
        let _ = client.stream.write(&frame);
    }
}
