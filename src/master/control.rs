//! The master's side of the control socket: who asks, what for, and the lines that go back.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Uid;

use crate::process::control_socket::{self, LONGEST_LINE};
use crate::process::{Command, Outcome, Reply};

/// Commands that may be connected at the same time.
const MOST_CLIENTS: usize = 32;
/// What may wait for a command that does not read its answer.
const MOST_WAITING: usize = 1 << 20;

/// The control socket and the commands connected to it.
#[derive(Debug)]
pub struct Control {
    listener: Option<UnixListener>,
    clients: Vec<Client>,
    next_id: u64,
}

#[derive(Debug)]
struct Client {
    id: u64,
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Nothing is read any more; it goes when all is written.
    closing: bool,
}

/// What the loop has to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// A command connects.
    Listener,
    /// A command sends, goes, or can take more.
    Client(u64),
}

impl Control {
    /// Without a socket, for the time until it may be bound.
    #[must_use]
    pub fn closed() -> Control {
        Control { listener: None, clients: Vec::new(), next_id: 1 }
    }

    /// Binds the socket.
    ///
    /// # Errors
    /// The run directory cannot be written.
    pub fn bind(&mut self, run: &Path) -> io::Result<()> {
        self.listener = Some(control_socket::bind(run)?);
        Ok(())
    }

    /// Takes no more commands; those connected stay.
    pub fn close(&mut self) {
        self.listener = None;
    }

    /// What to watch, and whether for room to write too.
    pub fn watched(&self) -> impl Iterator<Item = (Watch, BorrowedFd<'_>, bool)> {
        let listener = self.listener.iter().map(|l| (Watch::Listener, l.as_fd(), false));
        listener.chain(self.clients.iter().map(|c| (Watch::Client(c.id), c.stream.as_fd(), !c.outgoing.is_empty())))
    }

    /// Handles readiness; returns a command that has arrived, with the number to answer under.
    pub fn ready(&mut self, watch: Watch) -> Option<(u64, Command)> {
        match watch {
            Watch::Listener => {
                self.accept();
                None
            }
            Watch::Client(id) => self.serve(id).map(|command| (id, command)),
        }
    }

    /// Sends a line; after `Done` the connection ends. A command that has gone is no matter.
    pub fn reply(&mut self, id: u64, reply: &Reply) {
        let Some(client) = self.clients.iter_mut().find(|c| c.id == id) else { return };
        if let Ok(line) = serde_json::to_vec(reply)
            && client.outgoing.len() + line.len() < MOST_WAITING
        {
            client.outgoing.extend_from_slice(&line);
            client.outgoing.push(b'\n');
        }
        client.closing |= matches!(reply, Reply::Done(_));
        if client.write().is_err() {
            self.remove(id);
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    crate::log_warn!("a command could not connect: {error}");
                }
                return;
            }
        };
        if !may_command(&stream) || self.clients.len() >= MOST_CLIENTS || stream.set_nonblocking(true).is_err() {
            crate::log_warn!("a command was refused: another user's, or too many at once");
            return;
        }
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        self.clients.push(Client { id: self.next_id, stream, incoming, outgoing, closing: false });
        self.next_id += 1;
    }

    fn serve(&mut self, id: u64) -> Option<Command> {
        let client = self.clients.iter_mut().find(|c| c.id == id)?;
        if client.write().is_err() {
            self.remove(id);
            return None;
        }
        let mut buffer = [0; 4096];
        match client.stream.read(&mut buffer) {
            Ok(0) => {
                self.remove(id);
                None
            }
            Ok(count) => {
                client.incoming.extend_from_slice(&buffer[..count]);
                let outcome = client.command()?;
                outcome.map_err(|why| self.reply(id, &Reply::Done(Outcome::failed(why)))).ok()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => {
                self.remove(id);
                None
            }
        }
    }

    fn remove(&mut self, id: u64) {
        self.clients.retain(|c| c.id != id);
    }
}

impl Client {
    fn command(&mut self) -> Option<Result<Command, String>> {
        let Some(end) = self.incoming.iter().position(|&b| b == b'\n') else {
            return (self.incoming.len() > LONGEST_LINE).then(|| Err("the command is too long".to_owned()));
        };
        let line: Vec<u8> = self.incoming.drain(..=end).collect();
        Some(serde_json::from_slice(&line).map_err(|e| format!("no such command: {e}")))
    }

    /// Writes what waits; an error when the connection is to be closed.
    fn write(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.closing { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// Root and the user who runs the master may command it (SO_PEERCRED, unix(7)).
fn may_command(stream: &UnixStream) -> bool {
    getsockopt(stream, sockopt::PeerCredentials).is_ok_and(|peer| peer.uid() == 0 || peer.uid() == Uid::effective().as_raw())
}
