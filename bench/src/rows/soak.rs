//! Ten minutes of everything at once, with connections that come and go: memory must be flat after the first minute.

use std::time::{Duration, Instant};

use super::Row;
use crate::load::{Exchange, Load};
use crate::report::Finding;
use crate::{Bench, Result, site};

pub const ROW: Row = Row { name: "soak/mixed", by_name_only: true, run };

const LENGTH: Duration = Duration::from_mins(10);

/// Part of the length after which memory must not grow any more.
const WARM: f64 = 0.1;

/// Requests until all connections are opened anew.
const REQUESTS: u64 = 10_000;

/// How much more than after the first minute is still flat: allocators breathe.
const BREATH: f64 = 1.05;

/// Who asks for what, by the number of the connection.
fn mixed(connection: usize) -> Exchange {
    match connection % 16 {
        0 => Exchange::get("/files/large.txt", site::content(site::LARGE)),
        1..4 => Exchange::get("/files/small.txt", site::content(site::SMALL)),
        4..8 => site::fixed(connection),
        _ => site::scripted(connection),
    }
}

fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let running = bench.ours.start(bench.cores)?;
    let length = LENGTH.mul_f64(bench.scale);
    let start = Instant::now();
    let (mut warm, mut most, mut last, mut answers) = (0, 0, 0, 0);
    let mut turn = 0;
    while start.elapsed() < length {
        // Few and many connections in turns: what grows with them must also shrink, or at least not grow again.
        let connections = [16, 64, 256, 32][turn % 4];
        Load::open(running.address, (0..connections).map(mixed))?.closed(REQUESTS).map_err(|error| running.blame(&*error))?;
        answers += REQUESTS;
        turn += 1;
        last = running.resident()?;
        if start.elapsed() < length.mul_f64(WARM) {
            warm = warm.max(last);
        } else {
            most = most.max(last);
        }
    }
    let mb = |bytes: u64| bytes as f64 / 1e6;
    Ok(vec![Finding::size(
        &format!("RSS in {} s of mixed load, {answers} answers", length.as_secs()),
        format!("first tenth {:.1} MB, most after it {:.1} MB, at the end {:.1} MB", mb(warm), mb(most), mb(last)),
        String::new(),
        "flat after the first tenth",
        mb(most) <= mb(warm) * BREATH,
    )])
}
