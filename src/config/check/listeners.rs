//! Listening addresses: no two that exclude each other, none that cannot be bound.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::unistd::Uid;

use super::Checker;
use crate::config::problem::Problem;
use crate::config::settings::{ADMIN, Settings};
use crate::config::tree::Place;
use crate::net::Address;

/// The bit of CAP_NET_BIND_SERVICE (capabilities(7)).
const BIND_SERVICE: u64 = 1 << 10;

impl Checker<'_> {
    /// Everything about listeners that can be known without binding them.
    pub(super) fn listeners(&mut self, settings: &Settings) {
        let mut known: Vec<(&str, &Address, Place)> = Vec::new();
        let mut counts = std::collections::HashMap::new();
        let own = own_addresses();
        let free = first_free_port();
        for (server, address) in settings.listeners() {
            let index: &mut usize = counts.entry(server).or_default();
            let owner = if server == ADMIN { Place::top().name("admin") } else { Place::top().name("servers").name(server) };
            let place = owner.name("listen").index(*index);
            *index += 1;
            if let Some((other, clash, _)) = known.iter().find(|(_, other, _)| address.clashes(other)) {
                let whose = if *other == server { "this server".to_owned() } else { spoken(other) };
                let message = if *clash == address {
                    format!("{address} is already taken by {whose}")
                } else {
                    format!(
                        "{address} cannot be bound beside {clash} of {whose}: one is every address of the machine, and both have the same port"
                    )
                };
                self.error(&place, message);
            }
            if let Address::Tcp(tcp) = address {
                self.bindable(&place, *tcp, own.as_deref(), free);
            }
            known.push((server, address, place));
        }
    }

    fn bindable(&mut self, place: &Place, address: SocketAddr, own: Option<&[IpAddr]>, free: u16) {
        // A service manager may have bound the socket for us.
        let inherited = std::env::var_os("LISTEN_FDS").is_some();
        if address.port() != 0 && address.port() < free && !inherited && !may_bind_low_ports() {
            let problem = Problem::error(
                format!("only root may listen on port {}: those below {free} are privileged", address.port()),
                self.sources.value(place),
            );
            self.problems.push(problem.help("start as root with `user` set, or give the binary the capability cap_net_bind_service"));
        }
        let ip = address.ip();
        if let Some(own) = own
            && !ip.is_unspecified()
            && !(ip.is_loopback() && ip.is_ipv4())
            && !own.contains(&ip)
        {
            self.warning(place, format!("no network interface of this machine has the address {ip}"));
        }
    }
}

fn spoken(server: &str) -> String {
    if server == ADMIN { "the admin listener".to_owned() } else { format!("the server `{server}`") }
}

/// The addresses of the machine's interfaces, if they can be known.
fn own_addresses() -> Option<Vec<IpAddr>> {
    let addresses = getifaddrs().ok()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    Some(addresses.collect())
}

/// The first port that a normal user may bind (ip(7), ip_unprivileged_port_start).
fn first_free_port() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Whether this process may bind ports below that: root, or the capability. When that cannot be known, yes.
fn may_bind_low_ports() -> bool {
    if Uid::effective().is_root() {
        return true;
    }
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return true };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    effective.is_none_or(|bits| bits & BIND_SERVICE != 0)
}
