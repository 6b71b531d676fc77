use std::fmt::Write;
use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, complain, master, say};
use crate::process::{self, Command};
use crate::scoreboard::{StoredStatus, UpstreamStatus};
use crate::units::counted;

/// show how the running instance is; exit code 3 when there is none
#[derive(FromArgs)]
#[argh(subcommand, name = "status")]
pub struct Status {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
    /// as JSON, everything that is known
    #[argh(switch)]
    pub json: bool,
}

impl Status {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        let status = match ask(config) {
            Ok(status) => status,
            Err(exit) => return exit,
        };
        if self.json {
            return match serde_json::to_string_pretty(&status) {
                Ok(json) => {
                    say(&format!("{json}\n"));
                    Exit::Fine
                }
                Err(error) => {
                    complain(&error.to_string());
                    Exit::Failed
                }
            };
        }
        say(&summary(&status));
        Exit::Fine
    }
}

/// The status of the instance that uses a configuration.
pub fn ask(config: Option<PathBuf>) -> Result<process::Status, Exit> {
    let outcome = master::Master::connect(config)?.ask(&Command::Status)?;
    outcome.status.map(|status| *status).ok_or_else(|| {
        complain(&outcome.lines.join("\n"));
        Exit::Failed
    })
}

/// The instance in a few lines.
pub fn summary(status: &process::Status) -> String {
    let master = &status.master;
    let mut text = format!("skep {} is {}, process {}, up {}\n", master.version, master.state, master.pid, duration(master.uptime_s));
    let config = master.config.as_deref().unwrap_or("built-in defaults");
    let states = &status.states;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  config     {config} (revision {})", master.revision);
    let _ = writeln!(text, "  workers    {} ({} idle, {} busy), generation {}", states.total, states.idle, states.busy, master.generation);
    for listener in &master.listeners {
        let _ = writeln!(text, "  {:<10} {}", listener.server, listener.address);
    }
    let (mut done, mut resumed, mut failed) = (0, 0, 0);
    for tls in status.workers.iter().map(|worker| worker.tls) {
        (done, resumed, failed) = (done + tls.done, resumed + tls.resumed, failed + tls.failed);
    }
    if done + failed > 0 {
        let _ = writeln!(text, "  handshakes {done} ({resumed} of them resumed sessions), {failed} failed");
    }
    let stored = status.workers.iter().map(|worker| worker.stored);
    if stored.clone().any(|stored| stored != StoredStatus::default()) {
        let _ = writeln!(text, "  stored     {}", lying(stored));
    }
    for certificate in &master.certificates {
        let names = if certificate.names.is_empty() { &certificate.file } else { &certificate.names.join(", ") };
        let left = match certificate.days_left {
            days @ ..0 => format!("expired {} ago", counted(days.unsigned_abs() as usize, "day")),
            days => format!("{} left", counted(days as usize, "day")),
        };
        let _ = writeln!(text, "  tls        {names} until {} ({left})", certificate.ends.get(..10).unwrap_or(&certificate.ends));
    }
    for order in &master.orders {
        let names = order.names.join(", ");
        match (&order.error, &order.next) {
            (Some(error), Some(next)) => {
                let _ = writeln!(text, "  acme       {names}: {error}\n             the next order is made at {next}");
            }
            _ => {
                let _ = writeln!(text, "  acme       {names}: {}", order.state);
            }
        }
    }
    for upstream in &status.upstreams {
        let _ = writeln!(text, "  upstream   {}", shown(upstream));
    }
    if status.upstreams_left_out > 0 {
        let _ = writeln!(text, "  upstream   and {} more", status.upstreams_left_out);
    }
    let limits = &status.limits;
    if limits.requests + limits.connections > 0 {
        let (requests, connections) = (limits.requests as usize, limits.connections as usize);
        let (requests, connections) = (counted(requests, "request"), counted(connections, "connection"));
        let _ = writeln!(text, "  limits     {requests} and {connections} refused by address");
    }
    if limits.forgotten + limits.uncounted > 0 {
        let (early, never) = (limits.forgotten, limits.uncounted);
        let _ = writeln!(
            text,
            "             {early} times an address was forgotten too early, {never} times one was not counted: `limiter.addresses` is too small"
        );
    }
    if status.hub.is_none() {
        text.push_str("  hub        is being restarted\n");
    }
    for missing in &master.privileges {
        let _ = writeln!(text, "  note       {missing}");
    }
    if master.crashes > 0 {
        let _ = writeln!(text, "  crashes    {}", master.crashes);
    }
    if let Some(error) = &master.last_error {
        let _ = writeln!(text, "  last error {}", error.replace('\n', "\n             "));
    }
    text
}

/// `12 answers in files (3.4 MiB), 120 went so, 3 as they are, 1 left by workers before and removed`.
fn lying(workers: impl Iterator<Item = StoredStatus>) -> String {
    let all = workers.fold(StoredStatus::default(), |sum, one| StoredStatus {
        files: sum.files + one.files,
        bytes: sum.bytes + one.bytes,
        answers: sum.answers + one.answers,
        as_they_are: sum.as_they_are + one.as_they_are,
        abandoned: sum.abandoned + one.abandoned,
    });
    format!(
        "{} in files ({:.1} MiB), {} went so, {} as they are, {} left by workers before and removed",
        counted(usize::try_from(all.files).unwrap_or(usize::MAX), "answer"),
        all.bytes as f64 / 1_048_576.0,
        all.answers,
        all.as_they_are,
        all.abandoned
    )
}

/// `shop → 10.0.0.1:80: well, 3 requests under way, 2 kept connections, 120 requests, 1 failure`.
fn shown(upstream: &UpstreamStatus) -> String {
    let UpstreamStatus { app, upstream, backup, workers, well, active, idle, requests, failures } = upstream;
    let health = match *well {
        well if well == *workers => "well".to_owned(),
        0 => "away".to_owned(),
        well => format!("away in {} of {workers} workers", workers - well),
    };
    let kind = if *backup { " (backup)" } else { "" };
    let many = |count: u64, noun: &str| counted(usize::try_from(count).unwrap_or(usize::MAX), noun);
    format!(
        "{app} \u{2192} {upstream}{kind}: {health}, {active} under way, {idle} kept, {}, {}",
        many(*requests, "request"),
        many(*failures, "failure")
    )
}

/// Seconds as people say them, two units at most.
pub fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut text = String::new();
    for (size, unit) in units.iter().skip(first).take(2) {
        if !text.is_empty() && rest / size == 0 {
            break;
        }
        let _ = write!(text, "{}{unit}", rest / size);
        rest %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_files_are_those_of_all_workers() {
        let one = StoredStatus { files: 1, bytes: 1 << 20, answers: 7, as_they_are: 2, abandoned: 1 };
        let two = StoredStatus { bytes: 1 << 19, ..StoredStatus::default() };
        assert_eq!(
            lying([one, two].into_iter()),
            "1 answer in files (1.5 MiB), 7 went so, 2 as they are, 1 left by workers before and removed"
        );
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m1s"), (3600, "1h"), (3661, "1h1m"), (90_000, "1d1h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
