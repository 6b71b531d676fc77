//! Side-by-side benchmarks of skep and its peers: `make bench`, or `make bench ONLY=http/static`.
//!
//! Machines are shared and noisy, so requests a second say little. What holds still is the CPU time of the server's processes for each
//! unit of a bounded load, and best of all its ratio to a peer that was measured in turns with it. Every answer is checked.

mod arguments;
mod compare;
mod cores;
mod folder;
mod group;
mod load;
mod peers;
mod process;
mod report;
mod rows;
mod site;
mod wait;

use std::process::ExitCode;

use arguments::Arguments;
use cores::Cores;
use peers::Peer;
use rows::Row;

/// Anything that goes wrong ends the run, with words for the person who reads it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What every row needs to know.
struct Bench {
    ours: Peer,
    peer: Peer,
    cores: Cores,
    rounds: u32,
    /// Part of the requests that a row names, for a quick look.
    scale: f64,
}

impl Bench {
    fn scaled(&self, requests: u64) -> u64 {
        ((requests as f64 * self.scale) as u64).max(1_000)
    }
}

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).map_err(Into::into).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skep-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    if let Some(address) = arguments.kernel_limit {
        return peers::serve_kernel_limit(address);
    }
    let cores = Cores::choose()?;
    cores.to_load()?;
    raise_descriptors()?;
    let ours = if arguments.check { Peer::Nginx } else { Peer::Skep(std::path::absolute(&arguments.skep)?) };
    let bench = Bench { ours, peer: Peer::Nginx, cores, rounds: arguments.rounds, scale: arguments.scale };
    let version = bench.ours.version()?;

    let mut findings = Vec::new();
    let (mut done, mut failed) = (0, Vec::new());
    let wanted = |row: &&Row| row.name.contains(&arguments.only) && !(row.by_name_only && arguments.only.is_empty());
    for row in rows::ROWS.iter().filter(wanted) {
        eprintln!("{} …", row.name);
        match (row.run)(&bench) {
            Ok(found) => findings.extend(found),
            Err(error) => failed.push(format!("{}: {error}", row.name)),
        }
        done += 1;
    }
    if done == 0 {
        let names: Vec<&str> = rows::ROWS.iter().map(|row| row.name).collect();
        return Err(format!("no row is called {:?}; there are {}", arguments.only, names.join(", ")).into());
    }
    let text = report::render(&findings, &version, &conditions(&bench));
    println!("{text}");
    if let Some(path) = arguments.save {
        std::fs::write(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

fn conditions(bench: &Bench) -> String {
    let placed =
        if bench.cores.shared() { "server and load on the same core" } else { "server on one core with one worker, load on another" };
    let amount = if bench.scale < 1.0 { format!(", {} of the requests (a quick look)", bench.scale) } else { String::new() };
    format!(
        "CPU time of all the server's processes for each request or delivery, median of {} interleaved rounds{amount}; {placed}.\n\
         p50/p99: at a fixed rate, counted from the moment a request was due. Ratios: ours to the peer's, smaller is better.\n\n{}",
        bench.rounds,
        report::machine()
    )
}

/// 10,000 idle connections need as many descriptors here.
fn raise_descriptors() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}
