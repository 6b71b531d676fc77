//! Whether the listeners of a configuration could be bound now, and who stands in the way.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket};

use super::problem::Problem;
use super::settings::{ADMIN, Settings};
use crate::net::Address;

/// Listening, in the `st` column of `/proc/net/tcp` (proc(5), include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// Tries to bind every listener that `running` does not have already, and lets go of it at once.
///
/// Gives an error for each that cannot be bound, with the process that has it where that can be known. `running` is what the master has bound.
#[must_use]
pub fn probe_listeners(settings: &Settings, running: &[Address]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (server, address) in settings.listeners() {
        if running.contains(address) {
            continue;
        }
        if let Err(error) = probe(address) {
            let whose = if server == ADMIN { "the admin listener".to_owned() } else { format!("the server `{server}`") };
            let mut problem = Problem::error(format!("{whose} cannot listen on {address}: {}", spoken(&error)), None);
            if error.kind() == io::ErrorKind::AddrInUse {
                problem = problem.maybe_help(holder(address).map(|holder| format!("{holder} has it")));
            }
            problems.push(problem);
        }
    }
    problems
}

/// Tries to bind one address, and lets go of it at once. A socket file that nobody listens on is no obstacle.
///
/// # Errors
/// As bind(2).
pub fn probe(address: &Address) -> io::Result<()> {
    match address {
        Address::Tcp(address) => probe_tcp(*address),
        Address::Unix(path) => probe_unix(path),
    }
}

fn probe_tcp(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, Ipv6V6Only, &true)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    // Two sockets may be bound to a port with SO_REUSEADDR as long as none listens; only listening tells.
    nix::sys::socket::listen(&fd, nix::sys::socket::Backlog::new(1)?)?;
    drop(TcpListener::from(fd));
    Ok(())
}

fn probe_unix(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name that is no socket"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            // Left behind by a process that is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
        },
    }
}

fn spoken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no network interface of this machine has it".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The process that listens on an address, in words: "nginx (process 123)". Nothing when it cannot be known: other users' processes hide it.
#[must_use]
pub fn holder(address: &Address) -> Option<String> {
    let inodes = match address {
        Address::Tcp(address) => {
            let table = if address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
            tcp_inodes(&fs::read_to_string(table).ok()?, *address)
        }
        Address::Unix(path) => unix_inodes(&fs::read_to_string("/proc/net/unix").ok()?, path),
    };
    if inodes.is_empty() { None } else { process_with(&inodes) }
}

/// The inodes of sockets that listen on the address or on every address with its port (proc(5), `/proc/net/tcp`).
fn tcp_inodes(table: &str, address: SocketAddr) -> HashSet<String> {
    let found = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (host, port) = local.split_once(':')?;
        let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
        let host = hex_address(host)?;
        let same_host = host == address.ip() || host.is_unspecified() || address.ip().is_unspecified();
        (*state == LISTEN && same_port && same_host).then(|| (*inode).to_owned())
    });
    found.collect()
}

/// An address as the kernel prints it: 32-bit words in the machine's byte order.
fn hex_address(text: &str) -> Option<IpAddr> {
    let word = |text: &str| Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::from(word(text)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(text.get(index * 8..index * 8 + 8)?)?);
            }
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

/// The inodes of sockets bound to the path (proc(5), `/proc/net/unix`: the inode is the seventh column, the path the eighth).
fn unix_inodes(table: &str, path: &Path) -> HashSet<String> {
    let found = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let inode = fields.nth(6)?;
        (fields.next().map(Path::new) == Some(path)).then(|| inode.to_owned())
    });
    found.collect()
}

/// The first process that has one of these sockets open, in words.
fn process_with(inodes: &HashSet<String>) -> Option<String> {
    let mut processes: Vec<u32> = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    processes.sort_unstable();
    processes.into_iter().find_map(|process| {
        let mut descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?.filter_map(Result::ok);
        descriptors.find(|descriptor| {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'))
                .is_some_and(|inode| inodes.contains(inode))
        })?;
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        Some(format!("{} (process {process})", name.trim_end()))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn own() -> String {
        format!("(process {})", std::process::id())
    }

    #[test]
    fn names_who_has_the_port() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(taken.local_addr().unwrap());
        assert_eq!(probe(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(holder(&address).unwrap().ends_with(&own()));
        let everywhere = Address::Tcp(SocketAddr::new("0.0.0.0".parse().unwrap(), taken.local_addr().unwrap().port()));
        assert_eq!(probe(&everywhere).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        probe(&address).unwrap();
        assert_eq!(holder(&address), None);
    }

    #[test]
    fn a_socket_file_is_an_obstacle_while_somebody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let address = Address::Unix(path.clone());
        probe(&address).unwrap();
        assert!(!path.exists());
        let taken = UnixListener::bind(&path).unwrap();
        assert_eq!(probe(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(holder(&address).unwrap().ends_with(&own()));
        drop(taken);
        probe(&address).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(probe(&address).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn reads_the_tables_of_the_kernel() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F6F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   1: 0100007F:1F6F 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";
        let inodes = |address: &str| tcp_inodes(table, address.parse().unwrap());
        if cfg!(target_endian = "little") {
            assert_eq!(inodes("127.0.0.1:8047"), HashSet::from(["4711".to_owned()]));
            assert_eq!(inodes("0.0.0.0:8047"), HashSet::from(["4711".to_owned()]));
            assert!(inodes("127.0.0.1:8048").is_empty());
            assert!(inodes("10.0.0.1:8047").is_empty());
        }
    }
}
