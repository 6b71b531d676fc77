//! The same behaviour over every way in: HTTP/1.1, HTTP/2, the reverse proxy in front, and FastCGI behind nginx, Apache and HAProxy. Each case is written
//! once; what a front makes different is named where it is looked at.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod bodies;
mod exchange;
mod faults;
mod fronts;
mod http1;
mod http2;
mod large;
mod leaving;
mod programs;
mod requests;
mod served;

use std::panic::{AssertUnwindSafe, catch_unwind};

use served::{Served, Way};

/// A case: what it is about, and how it is looked at.
type Case = (&'static str, fn(&Served));

/// Runs every case over one way in, and says which failed. With `SKEP_CASE=form` only those with such a word in their name.
fn behaves(way: Way) {
    let served = Served::start(way);
    let all = [requests::CASES, bodies::CASES, answers::CASES, leaving::CASES, programs::CASES];
    let wanted = std::env::var("SKEP_CASE").unwrap_or_default();
    let failed = |(name, case): &&Case| {
        let failed = catch_unwind(AssertUnwindSafe(|| case(&served))).is_err();
        if failed {
            eprintln!("--- {way:?}: {name}: failed");
        }
        failed
    };
    let failed: Vec<&str> =
        all.into_iter().flatten().filter(|(name, _)| name.contains(&wanted)).filter(failed).map(|(name, _)| *name).collect();
    assert!(failed.is_empty(), "{way:?}: {failed:?}");
    served.is_left_clean();
}

#[test]
fn http1_behaves() {
    behaves(Way::Http1);
}

#[test]
fn http2_behaves() {
    behaves(Way::Http2);
}

#[test]
fn the_proxy_behaves() {
    behaves(Way::Proxy);
}

#[test]
fn fastcgi_behind_nginx_behaves() {
    behaves(Way::Nginx);
}

#[test]
fn fastcgi_behind_apache_behaves() {
    behaves(Way::Apache);
}

#[test]
fn fastcgi_behind_haproxy_behaves() {
    behaves(Way::HaProxy);
}

#[test]
fn fastcgi_behind_haproxy_that_multiplexes_behaves() {
    behaves(Way::Multiplexed);
}
