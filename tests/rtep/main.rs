//! RTEP with the real binary: the protocol byte for byte, events across workers and transports, faults, and peers that behave badly.

mod applications;
mod faults;
mod original;
mod peer;
mod policy;
mod reconnection;

#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;

use support::server::{Site, Skep, free_address};

/// A running skep with an RTEP server.
struct Rtep {
    skep: Skep,
    address: SocketAddr,
    policy: SocketAddr,
}

/// Starts one with this many workers. `options` are more of the RTEP server's, `more` of the whole; `script` is the application of the web server.
fn start(workers: usize, options: &str, more: &str, script: Option<&str>) -> Rtep {
    let site = Site::new();
    let (web, address, policy) = (site.address, free_address(), free_address());
    let (apps, route) = match script {
        None => ("", "reply: (body: \"here\")"),
        Some(script) => {
            site.write("apps/app/main.luau", script);
            ("\"app\": Script(path: \"apps/app\")", "app: \"app\"")
        }
    };
    let more = more.replace("ADDRESS", &address.to_string());
    site.write(
        "config.ron",
        &format!(
            "Config(\n    data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: true, log: (level: Info),\n    \
             workers: (start: {workers}, min: {workers}, max: {workers}, min_spare: 0, max_spare: {workers}, drain: \"5s\", \
             backoff: (shortest: \"10ms\", longest: \"50ms\")),\n    admin: (listen: []),\n    apps: {{{apps}}},\n    servers: {{\n        \
             \"web\": Http(listen: [\"{web}\"], routes: [(path: \"/\", {route})]),\n        \
             \"rtep\": Rtep(listen: [\"{address}\"], drain_spread: \"10ms\", {options}),\n        \
             \"policy\": FlashPolicy(listen: [\"{policy}\"], file: \"crossdomain.xml\", timeout: \"300ms\", max_connections: 4),\n    \
             }},\n    {more}\n)\n"
        ),
    );
    Rtep { skep: site.start(), address, policy }
}
