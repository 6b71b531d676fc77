//! Asking servers whether they are well.

use std::rc::{Rc, Weak};

use super::app::ReverseProxy;
use super::config::Check;
use super::fault::Fault;
use super::upstream::Upstream;
use crate::clients::http::{Patience, RequestBody, Written, converse};
use crate::codec::http::Method;
use crate::reactor::{sleep, spawn};

/// Asks every server from now on, for as long as the proxy is there.
pub(super) fn begin(proxy: &Rc<ReverseProxy>, check: &Check) {
    let servers: Vec<Rc<Upstream>> = proxy.group.all().cloned().collect();
    for upstream in servers {
        spawn(watch(Rc::downgrade(proxy), upstream, check.clone())).detach();
    }
}

async fn watch(proxy: Weak<ReverseProxy>, upstream: Rc<Upstream>, check: Check) {
    while let Some(proxy) = proxy.upgrade() {
        let asked = ask(&proxy, &upstream, &check).await;
        let app = proxy.name();
        match asked {
            Ok(()) if upstream.asked(true) => crate::log_info!(app = app; "upstream {}: it is well again", upstream.name),
            Err(fault) if upstream.asked(false) => {
                crate::log_warn!(app = app; "upstream {}: {}; it is asked again every {}", upstream.name, fault.why(), check.interval);
            }
            Ok(()) | Err(_) => {}
        }
        drop(proxy);
        sleep(check.interval.get()).await;
    }
}

async fn ask(proxy: &ReverseProxy, upstream: &Upstream, check: &Check) -> Result<(), Fault> {
    let line = proxy.dialer.dial(upstream, None).await?;
    let host = &upstream.authority;
    let head = format!("GET {}{} HTTP/1.1\r\nhost: {host}\r\nuser-agent: skep\r\nconnection: close\r\n\r\n", upstream.prefix(), check.path);
    let written = Written { head: head.into_bytes(), method: Method::Get, body: RequestBody::Empty, upgrade: false };
    let limit = check.timeout.get();
    let (head, _) = converse(line.connection, written, Some(Patience { stall: limit, answer: limit }))
        .await
        .map_err(|failure| Fault::of(failure.error))?;
    let well = if check.status.is_empty() { (200..400).contains(&head.status) } else { check.status.contains(&head.status) };
    if well { Ok(()) } else { Err(Fault::Nonsense(format!("it answers {} when it is asked whether it is well", head.status))) }
}
