//! One port on several addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use crate::instance::{Instance, get};

/// A port that is free on both families.
fn free_port() -> u16 {
    loop {
        let on_six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a machine with IPv6");
        let port = on_six.local_addr().expect("bound").port();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn both_families_serve_the_same_port() {
    for (four, six) in [("0.0.0.0", "[::]"), ("127.0.0.1", "[::1]")] {
        let port = free_port();
        let instance = Instance::new("");
        instance.write_config(&format!(
            r#"Config(
                auto_reload: false, log: (file: "skep.log"), admin: (listen: []), workers: (start: 2),
                servers: {{ "web": Http(listen: ["{four}:{port}", "{six}:{port}"], routes: [(path: "/", reply: (body: "{four}"))]) }},
            )"#
        ));
        let instance = instance.start();
        for address in [IpAddr::from([127, 0, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            assert_eq!(get(SocketAddr::new(address, port)).body, four, "{address}");
        }
        instance.ok(&["stop"]);
    }
}
