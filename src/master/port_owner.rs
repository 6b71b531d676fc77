//! Who holds a port that is busy: for the message, where `/proc` lets us know.

use std::fs;
use std::net::SocketAddr;

/// The process that listens on the port, `"nginx (process 812)"`; `None` when it cannot be known (another user's process, say).
#[must_use]
pub fn port_owner(address: SocketAddr) -> Option<String> {
    let inodes = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let inodes: Vec<String> = inodes.flat_map(|table| listening_inodes(&table, address.port())).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds(*pid, &wanted))
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (process {pid})", name.trim())
        })
}

/// Inodes of the sockets in a `/proc/net/tcp` table that listen (state 0A) on a port. Its columns are described in proc(5).
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?;
            (local.ends_with(&suffix) && state == "0A").then(|| inode.to_owned())
        })
        .collect()
}

fn holds(pid: u32, wanted: &[String]) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|link| wanted.iter().any(|w| link.as_os_str() == w.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_of_our_own_is_found_and_a_free_port_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let owner = port_owner(address).expect("own processes can be seen");
        assert!(owner.contains(&std::process::id().to_string()), "{owner}");
        drop(listener);
        assert_eq!(port_owner(address), None);
    }
}
