//! The listening sockets. The master alone binds and closes them; an address that stays in the configuration keeps its socket
//! through every update and upgrade, so nobody in its queue is lost.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, getsockname, getsockopt, listen, setsockopt, socket,
    sockopt,
};

use crate::config::{Settings, holder};
use crate::net::Address;
use crate::process::{ListenSocket, ListenerName};
use crate::sys::descriptors;

/// Connections that may wait in the kernel for a worker.
const BACKLOG: i32 = 4096;
/// How many ports after a busy default are tried.
const NEXT_PORTS: u16 = 100;

/// One socket that is listened on, and for whom.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The key in `servers`, or [`crate::config::ADMIN`].
    pub server: String,
    /// As configured: what an update compares.
    pub configured: Address,
    /// As bound: the same, except for port 0 and a default port that was busy.
    pub bound: Address,
    fd: Rc<OwnedFd>,
}

/// A socket that came from before: from systemd, or from the instance that this one replaces.
#[derive(Debug)]
pub struct Inherited {
    /// Whose it was there, and where as configured; `None` from systemd.
    pub origin: Option<(String, Address)>,
    /// The socket.
    pub fd: OwnedFd,
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    address: Address,
    error: io::Error,
    owner: Option<String>,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.address)?;
        match (self.error.kind(), &self.owner) {
            (io::ErrorKind::AddrInUse, Some(owner)) => write!(f, "{owner} listens there already"),
            (io::ErrorKind::AddrInUse, None) => write!(f, "another process listens there already"),
            (io::ErrorKind::PermissionDenied, _) if self.address.port().is_some_and(|port| port < 1024) => {
                write!(f, "ports below 1024 need root (or the capability CAP_NET_BIND_SERVICE)")
            }
            (io::ErrorKind::AddrNotAvailable, _) => write!(f, "this machine has no such address"),
            _ => write!(f, "{}", self.error),
        }
    }
}

impl std::error::Error for ListenError {}

/// What to listen on after a change.
#[derive(Debug, Default)]
pub struct Plan {
    /// All of it.
    pub all: Vec<Listening>,
    /// What was not there before.
    pub added: Vec<Listening>,
    /// What is no longer wanted.
    pub removed: Vec<Listening>,
    /// For the operator: defaults that moved, inherited sockets that nobody wants.
    pub notes: Vec<String>,
}

/// Works out what `settings` wants listened on, takes over what `current` and `inherited` already have, binds the rest.
///
/// # Errors
/// An address cannot be bound; what this call had bound is closed again, `current` is untouched.
pub fn plan(settings: &Settings, current: &[Listening], mut inherited: Vec<Inherited>) -> Result<Plan, ListenError> {
    let mut plan = Plan::default();
    for (server, address) in settings.listeners() {
        let (server, address) = (server.to_owned(), address.clone());
        if let Some(same) = find(current, &server, &address) {
            let kept = Listening { server, ..same.clone() };
            if kept.server != same.server {
                plan.added.push(kept.clone());
            }
            plan.all.push(kept);
            continue;
        }
        let listening = match take(&mut inherited, &server, &address) {
            Some(fd) => adopt(server, address, fd)?,
            None => open(server, address, settings.file.is_none(), &mut plan.notes)?,
        };
        plan.added.push(listening.clone());
        plan.all.push(listening);
    }
    let gone = |old: &&Listening| !plan.all.iter().any(|new| new.server == old.server && new.configured == old.configured);
    plan.removed = current.iter().filter(gone).cloned().collect();
    for socket in inherited {
        let at = address_of(&socket.fd).map_or_else(|| "an unknown address".to_owned(), |a| a.to_string());
        plan.notes.push(format!("a socket that was passed in is not used: nothing is configured for {at}"));
    }
    Ok(plan)
}

impl Listening {
    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> ListenerName {
        ListenerName { server: self.server.clone(), address: self.bound.clone() }
    }

    /// The socket, for a moment.
    #[must_use]
    pub fn socket(&self) -> &OwnedFd {
        &self.fd
    }

    /// A second descriptor of the socket, for a child.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn for_child(&self) -> io::Result<ListenSocket> {
        Ok(ListenSocket { server: self.server.clone(), address: self.bound.clone(), fd: self.fd.try_clone()? })
    }

    /// Removes the file of a unix socket nobody is to find any more.
    pub fn remove_file(&self) {
        if let Address::Unix(path) = &self.bound
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            crate::log_warn!("cannot remove the socket {}: {error}", path.display());
        }
    }
}

/// The socket that is there already: of the same server, or of one that gives the address up. Port 0 is another port each time.
fn find<'a>(current: &'a [Listening], server: &str, address: &Address) -> Option<&'a Listening> {
    let same = current.iter().find(|l| l.server == server && l.configured == *address);
    same.or_else(|| current.iter().find(|l| l.configured == *address && address.port() != Some(0)))
}

fn take(inherited: &mut Vec<Inherited>, server: &str, address: &Address) -> Option<OwnedFd> {
    let fits = |socket: &Inherited, exactly: bool| match &socket.origin {
        Some((owner, configured)) => configured == address && (owner == server || (!exactly && address.port() != Some(0))),
        None => address_of(&socket.fd).as_ref() == Some(address),
    };
    let at = inherited.iter().position(|socket| fits(socket, true)).or_else(|| inherited.iter().position(|socket| fits(socket, false)))?;
    Some(inherited.swap_remove(at).fd)
}

fn adopt(server: String, configured: Address, fd: OwnedFd) -> Result<Listening, ListenError> {
    let ready = || {
        if !getsockopt(&fd, sockopt::AcceptConn)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket that was passed in does not listen"));
        }
        descriptors::set_nonblocking(fd.as_fd())
    };
    match ready() {
        Ok(()) => {
            let bound = address_of(&fd).unwrap_or_else(|| configured.clone());
            Ok(Listening { server, configured, bound, fd: Rc::new(fd) })
        }
        Err(error) => Err(ListenError { address: configured, error, owner: None }),
    }
}

fn open(server: String, configured: Address, may_move: bool, notes: &mut Vec<String>) -> Result<Listening, ListenError> {
    let failed = |error: io::Error| {
        let owner = if error.kind() == io::ErrorKind::AddrInUse { holder(&configured) } else { None };
        ListenError { address: configured.clone(), error, owner }
    };
    let fd = match &configured {
        Address::Unix(path) => open_unix(path).map_err(failed)?,
        Address::Tcp(address) => match open_tcp(*address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && may_move => {
                let free = next_free(*address).ok_or_else(|| failed(error))?;
                let owner = holder(&configured).map_or_else(String::new, |owner| format!(" by {owner}"));
                notes.push(format!("{address} is taken{owner}; listens on port {} instead", free.1));
                free.0
            }
            other => other.map_err(failed)?,
        },
    };
    let bound = address_of(&fd).unwrap_or_else(|| configured.clone());
    Ok(Listening { server, configured, bound, fd: Rc::new(fd) })
}

fn next_free(address: SocketAddr) -> Option<(OwnedFd, u16)> {
    let last = address.port().saturating_add(NEXT_PORTS);
    (address.port().checked_add(1)?..=last).find_map(|port| Some((open_tcp(SocketAddr::new(address.ip(), port)).ok()?, port)))
}

fn open_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = new_socket(family)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, backlog())?;
    Ok(fd)
}

/// Binds a unix socket that everybody may connect to: the directory decides who can. A file that nobody listens on is replaced.
fn open_unix(path: &Path) -> io::Result<OwnedFd> {
    let fd = new_socket(AddressFamily::Unix)?;
    let address = UnixAddr::new(path)?;
    match bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            remove_stale(path)?;
            bind(fd.as_raw_fd(), &address)?;
        }
        other => other?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    listen(&fd, backlog())?;
    Ok(fd)
}

/// Removes a socket file whose listener has gone; anything else that is there stays, and is an error.
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(Errno::EADDRINUSE.into()),
    }
}

fn new_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?)
}

fn backlog() -> Backlog {
    Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)
}

fn address_of(fd: &OwnedFd) -> Option<Address> {
    let storage: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(Address::Tcp((*v4).into()));
    }
    if let Some(v6) = storage.as_sockaddr_in6() {
        return Some(Address::Tcp((*v6).into()));
    }
    Some(Address::Unix(PathBuf::from(storage.as_unix_addr()?.path()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    fn open_fixed(text: &str) -> Result<Listening, ListenError> {
        open("web".into(), address(text), false, &mut Vec::new())
    }

    #[test]
    fn a_busy_port_names_who_has_it_and_a_default_moves_on() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a port");
        let busy = held.local_addr().expect("bound").to_string();
        let error = open_fixed(&busy).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {busy}: ")) && error.contains(&format!("(process {})", std::process::id())),
            "{error}"
        );
        let mut notes = Vec::new();
        let moved = open("web".into(), address(&busy), true, &mut notes).expect("another port");
        assert_ne!(moved.bound, moved.configured);
        assert!(notes[0].contains(&busy), "{notes:?}");
        let Address::Tcp(bound) = moved.bound else { panic!("TCP") };
        TcpStream::connect(bound).expect("it listens");
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.sock");
        let text = format!("unix:{}", path.display());
        let first = open_fixed(&text).expect("free");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o666);
        assert!(open_fixed(&text).unwrap_err().to_string().contains("listens there already"));
        drop(first);
        open_fixed(&text).expect("stale").remove_file();
        fs::write(&path, "mine").expect("a file");
        assert!(open_fixed(&text).is_err());
        assert_eq!(fs::read_to_string(&path).expect("still there"), "mine");
    }

    #[test]
    fn an_address_and_its_wildcard_of_the_other_family_live_side_by_side() {
        let four = open_fixed("0.0.0.0:0").expect("IPv4");
        let port = four.bound.port().expect("TCP");
        let six = open_fixed(&format!("[::]:{port}"));
        assert!(six.is_ok() || six.unwrap_err().to_string().contains("no such address"), "a machine may lack IPv6");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_not_adopted() {
        let fd = new_socket(AddressFamily::Inet).expect("a socket");
        assert!(adopt("web".into(), address("127.0.0.1:1"), fd).unwrap_err().to_string().contains("does not listen"));
    }
}
