//! Lock servers: the protocol of the original byte for byte, what goes beyond it, and histories of many clients under faults.

mod beyond;
mod client;
mod faults;
mod history;
mod named;
mod original;
mod silence;
mod upgrade;

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
    start_with(workers, more, "", None)
}

/// Starts one whose lock server has these options.
fn start_server(workers: usize, options: &str) -> Locks {
    let site = Site::new();
    let address = free_address();
    write(&site, (address, options), workers, "", "reply: (body: \"here\")");
    Locks { skep: site.start(), address }
}

/// Starts one whose web server answers by the first of `apps`, whose script is given.
fn start_with(workers: usize, more: &str, apps: &str, script: Option<&str>) -> Locks {
    let site = Site::new();
    let address = free_address();
    let route = match script {
        None => "reply: (body: \"here\")",
        Some(script) => {
            site.write("apps/hold/main.luau", script);
            "app: \"hold\""
        }
    };
    write(&site, (address, ""), workers, &format!("apps: {{{apps}}}, {more}"), route);
    Locks { skep: site.start(), address }
}

fn configure(site: &Site, address: SocketAddr, workers: usize) {
    write(site, (address, ""), workers, "", "reply: (body: \"here\")");
}

fn write(site: &Site, (address, options): (SocketAddr, &str), workers: usize, more: &str, route: &str) {
    let web = site.address;
    site.write(
        "config.ron",
        &format!(
            "Config(\n    data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Info),\n    \
             workers: (start: {workers}, min: {workers}, max: {workers}, min_spare: 0, max_spare: {workers}, drain: \"5s\", \
             backoff: (shortest: \"10ms\", longest: \"50ms\")),\n    admin: (listen: []),\n    servers: {{\n        \
             \"web\": Http(listen: [\"{web}\"], routes: [(path: \"/\", {route})]),\n        \
             \"locks\": Lock(listen: [\"{address}\"], {options}),\n    }},\n    {more}\n)\n"
        ),
    );
}
