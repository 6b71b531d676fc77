use std::fmt::Write;
use std::path::PathBuf;

use argh::FromArgs;

use super::status::{ask, duration, summary};
use super::{Exit, say};
use crate::process::Status;
use crate::scoreboard::SlotStatus;

/// show how every worker is
#[derive(FromArgs)]
#[argh(subcommand, name = "fullstatus")]
pub struct FullStatus {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl FullStatus {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        match ask(config) {
            Ok(status) => {
                say(&summary(&status));
                say(&table(&status));
                Exit::Fine
            }
            Err(exit) => exit,
        }
    }
}

/// The original's table of states, then a line a worker.
fn table(status: &Status) -> String {
    let states = &status.states;
    let rows = [
        ("Total", states.total),
        ("Idle", states.idle),
        ("Busy", states.busy),
        ("Shutdown", states.shutdown),
        ("Pre-init", states.pre_init),
        ("Wait-init", states.wait_init),
        ("Init", states.init),
    ];
    let mut text = "\nState of workers:\n".to_owned();
    for (name, count) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\t{name}: {count}");
    }
    let _ =
        writeln!(text, "\n{:>8} {:<10}{:>8}{:>12}{:>13}{:>10}{:>10}", "PID", "STATE", "UPTIME", "REQUESTS", "CONNECTIONS", "RSS", "CPU");
    for worker in &status.workers {
        text.push_str(&line(worker, worker.state.name()));
    }
    if let Some(hub) = &status.hub {
        text.push_str(&line(hub, "hub"));
    }
    text
}

fn line(slot: &SlotStatus, state: &str) -> String {
    let rss = format!("{:.1} MiB", slot.rss as f64 / 1_048_576.0);
    let cpu = format!("{:.2} s", slot.cpu_ms as f64 / 1000.0);
    let (pid, uptime) = (slot.pid, duration(slot.uptime_s));
    let mut text = format!("{pid:>8} {state:<10}{uptime:>8}{:>12}{:>13}{rss:>10}{cpu:>10}", slot.requests, slot.connections);
    if let Some(step) = &slot.step {
        let _ = write!(text, "  {step}");
    }
    text.push('\n');
    text
}
