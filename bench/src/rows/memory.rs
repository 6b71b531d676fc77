//! Memory at rest, and the size of the binary.

use super::Row;
use crate::peers::Peer;
use crate::process::Resident;
use crate::report::Finding;
use crate::{Bench, Result};

pub const ROW: Row = Row { name: "http/memory", by_name_only: false, run };

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let ours = bench.ours.start(bench.cores)?.resident_each()?;
    let peer = bench.peer.start(bench.cores)?.resident_each()?;
    let name = bench.peer.version()?;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let show = |seen: Resident| format!("{:.1} MB ({:.1} of its own)", mb(seen.all), mb(seen.own));
    // The first process is the master; of the others the largest is the worker, as the applications live there.
    let worker = |each: &[Resident]| each[1..].iter().copied().max_by_key(|seen| seen.all).unwrap_or_default();
    let row =
        |what, own: Resident, their, goal, most| Finding::size(what, show(own), format!("{name}: {}", show(their)), goal, own.all <= most);
    let mut findings = vec![
        row("RSS of the master", ours[0], peer[0], "≤ 4 MB", 4_000_000),
        row("RSS of the idle worker", worker(&ours), worker(&peer), "≤ 12 MB", 12_000_000),
    ];
    if let Peer::Skep(binary) = &bench.ours {
        let size = std::fs::metadata(binary)?.len();
        findings.push(Finding::size("size of the binary", format!("{:.1} MB", mb(size)), String::new(), "≤ 25 MB", size <= 25_000_000));
    }
    Ok(findings)
}
