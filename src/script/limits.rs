//! What one application may use.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Limits of one application, checked: the paths are absolute, the numbers sane. Every worker applies them to its own copy of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the VM in bytes. Beyond it the script gets an "out of memory" error.
    pub memory: usize,
    /// How long the script may run without waiting.
    pub step: Duration,
    /// Sockets (connections and listeners) open at once.
    pub sockets: usize,
    /// Tasks and timers alive at once.
    pub tasks: usize,
    /// Bytes that a request's body may have when the script asks for it whole.
    pub body: usize,
    /// Directories below which files may be read. The application's own directory always may.
    pub read: Vec<PathBuf>,
    /// Directories below which files may be written.
    pub write: Vec<PathBuf>,
    /// Child processes at once; 0 means that none may be run.
    pub processes: usize,
    /// Where the application may connect to and listen.
    pub networks: Networks,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: 64 << 20,
            step: Duration::from_secs(2),
            sockets: 1024,
            tasks: 1024,
            body: 16 << 20,
            read: Vec::new(),
            write: Vec::new(),
            processes: 0,
            networks: Networks::Any,
        }
    }
}

/// The networks that an application may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Networks {
    /// Every address, and unix sockets.
    Any,
    /// Only addresses in these networks, and unix sockets only if said so.
    Only {
        /// The networks.
        networks: Vec<Network>,
        /// Whether unix sockets may be used.
        unix: bool,
    },
}

impl Networks {
    /// Whether this address may be used.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        match self {
            Networks::Any => true,
            Networks::Only { networks, .. } => networks.iter().any(|network| network.contains(address)),
        }
    }

    /// Whether unix sockets may be used.
    #[must_use]
    pub fn allow_unix(&self) -> bool {
        match self {
            Networks::Any => true,
            Networks::Only { unix, .. } => *unix,
        }
    }
}

/// An address with a prefix length: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8` or a bare address. `None` when it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let bits = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Network { address, prefix })
    }

    /// Whether the address is in this network. An IPv4 address written as IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

/// Where a path that a script named really is, if it is below one of the roots. Symbolic links are followed before the comparison; of a file
/// that does not exist yet, the directory counts.
#[must_use]
pub fn confine(path: &Path, roots: &[PathBuf]) -> Option<PathBuf> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A dangling link would lead elsewhere once its target appears.
            if path.is_symlink() {
                return None;
            }
            path.parent()?.canonicalize().ok()?.join(path.file_name()?)
        }
        Err(_) => return None,
    };
    let below = |root: &PathBuf| root.canonicalize().is_ok_and(|root| real.starts_with(root));
    roots.iter().any(below).then_some(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses_only() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ];
        for (network, address, expected) in cases {
            let parsed = Network::parse(network).expect("a network");
            assert_eq!(parsed.contains(address.parse().expect("an address")), expected, "{network} {address}");
        }
        for bad in ["10.0.0.0/33", "::/129", "10.0.0/8", "host", ""] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_confined_to_their_roots() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root");
        let outside = directory.path().join("outside");
        std::fs::create_dir_all(&root).expect("create");
        std::fs::create_dir_all(&outside).expect("create");
        std::fs::write(outside.join("secret"), "x").expect("write");
        std::os::unix::fs::symlink(&outside, root.join("link")).expect("link");
        std::os::unix::fs::symlink(outside.join("new"), root.join("dangling")).expect("link");
        let roots = [root.clone()];
        assert!(confine(&root.join("new"), &roots).is_some());
        assert!(confine(&root.join("../root/new"), &roots).is_some());
        for bad in ["../outside/secret", "link/secret", "dangling", "missing/file", "../new"] {
            assert_eq!(confine(&root.join(bad), &roots), None, "{bad}");
        }
    }
}
