//! A gibibyte each way, in memory that stays flat. It is made while it goes out and counted while it comes in: nobody stores it.

use std::fs;
use std::time::Instant;

use crate::exchange::{Announced, Asked, read};
use crate::served::{MOST, Served, Way};

/// What the worker's memory may grow by meanwhile, in KiB: its buffers, and the heap of the application, which its VM cleans now and then.
const GROWTH: u64 = 16 << 10;

/// A figure of a process, in KiB.
fn memory(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure");
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse().expect("a number")
}

/// Runs a transfer, and looks at the most memory that the worker had meanwhile.
fn stays_flat(served: &Served, what: &str, transfer: impl FnOnce()) {
    let worker = served.worker();
    let before = memory(worker, "VmRSS");
    // From here on the peak counts anew (proc(5)).
    fs::write(format!("/proc/{worker}/clear_refs"), "5").expect("a process of ours");
    let begun = Instant::now();
    transfer();
    let peak = memory(worker, "VmHWM");
    println!("{:?}: {what}: {:.1} s, {before} kB before, {peak} kB at most", served.way, begun.elapsed().as_secs_f32());
    assert!(peak < before + GROWTH, "{:?}: {what}: {before} kB before, {peak} kB at most", served.way);
    assert_eq!(served.worker(), worker, "it is still the same worker");
}

/// Sends a gibibyte, and has it counted.
fn upload(served: &Served, target: &str, body: Announced) {
    let mut exchange = served.open(Asked { method: "POST", target, fields: &[], body });
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..MOST >> 20 {
        exchange.send(&piece).expect("sent");
    }
    exchange.finish().expect("sent");
    let reply = read(&mut *exchange).expect("a reply");
    assert_eq!((reply.status, reply.text().trim()), (200, MOST.to_string().as_str()));
}

fn download(served: &Served, target: &str) {
    let mut exchange = served.open(Asked { method: "GET", target, fields: &[], body: Announced::None });
    assert_eq!(exchange.head().expect("a head").status, 200);
    let mut received = 0;
    while let Some(piece) = exchange.piece().expect("a piece") {
        received += piece.len() as u64;
    }
    assert_eq!(received, MOST);
}

fn passes(way: Way) {
    let served = Served::start(way);
    stays_flat(&served, "upload", || upload(&served, "/count", Announced::Length(MOST)));
    stays_flat(&served, "download, made by the application", || download(&served, &format!("/big?pieces={}", MOST >> 16)));
    // To a front it goes as other answers do.
    if matches!(way, Way::Http1 | Way::Http2) {
        stays_flat(&served, "download of a file", || download(&served, "/files/large.bin"));
    }
    if way == Way::Http1 {
        stays_flat(&served, "upload to a program", || upload(&served, "/cgi/count.sh", Announced::Length(MOST)));
        stays_flat(&served, "upload in chunks", || upload(&served, "/count", Announced::Unknown));
        stays_flat(&served, "download from a program", || download(&served, &format!("/cgi/zeros.sh?{MOST}")));
    }
}

#[test]
fn a_gibibyte_passes_http1_and_programs() {
    passes(Way::Http1);
}

#[test]
fn a_gibibyte_passes_http2() {
    passes(Way::Http2);
}

#[test]
fn a_gibibyte_passes_the_proxy() {
    passes(Way::Proxy);
}

#[test]
fn a_gibibyte_passes_nginx() {
    passes(Way::Nginx);
}

#[test]
fn a_gibibyte_passes_apache() {
    passes(Way::Apache);
}

#[test]
fn a_gibibyte_passes_haproxy() {
    passes(Way::HaProxy);
}

#[test]
fn a_gibibyte_passes_haproxy_that_multiplexes() {
    passes(Way::Multiplexed);
}
