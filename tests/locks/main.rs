//! Lock servers: the protocol of the original byte for byte, what goes beyond it, and histories of many clients under faults.

mod beyond;
mod client;
mod original;

#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;

use support::server::{Site, Skep, free_address};

/// A running skep with a lock server.
struct Locks {
    skep: Skep,
    address: SocketAddr,
}

/// Starts one with this many workers; `more` are further fields of the configuration.
fn start(workers: usize, more: &str) -> Locks {
    let site = Site::new();
    let address = free_address();
    configure(&site, address, workers, more);
    Locks { skep: site.start(), address }
}

fn configure(site: &Site, address: SocketAddr, workers: usize, more: &str) {
    let web = site.address;
    site.write(
        "config.ron",
        &format!(
            "Config(\n    data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Info),\n    \
             workers: (start: {workers}, min: {workers}, max: {workers}, min_spare: 0, max_spare: {workers}, drain: \"5s\", \
             backoff: (shortest: \"10ms\", longest: \"50ms\")),\n    admin: (listen: []),\n    servers: {{\n        \
             \"web\": Http(listen: [\"{web}\"], routes: [(path: \"/\", reply: (body: \"here\"))]),\n        \
             \"locks\": Lock(listen: [\"{address}\"]),\n    }},\n    {more}\n)\n"
        ),
    );
}
