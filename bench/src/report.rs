//! The result as Markdown tables, for the terminal and for bench/RESULTS.md.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::compare::Seen;
use crate::load::Latency;

/// What the ratio to the peer should not exceed.
#[derive(Clone, Copy)]
pub struct Goal {
    pub total: f64,
    /// Of user time alone, where that is asked for.
    pub user: Option<f64>,
}

/// One line of the report.
pub enum Finding {
    /// CPU time for each unit, ours beside the peer's. Cells as they are shown.
    Cost([String; 10]),
    /// A quantity with its goal.
    Size([String; 5]),
}

impl Finding {
    pub fn cost(work: &str, ours: &Seen, peer: &Seen, goal: Goal) -> Self {
        let (ratio, user) = (ours.ratio(peer), ours.user_ratio(peer));
        let wanted = goal.user.map_or(format!("≤ {:.2}", goal.total), |user| format!("≤ {:.2}, user ≤ {user:.2}", goal.total));
        let reached = ratio <= goal.total && goal.user.is_none_or(|most| user.is_some_and(|user| user <= most));
        let split = |seen: &Seen| format!("{:.2} ({:.2} user)", seen.total(), seen.user());
        Self::Cost([
            work.to_owned(),
            split(ours),
            peer.version.clone(),
            split(peer),
            format!("**{ratio:.2}**"),
            user.map_or("–".to_owned(), |user| format!("{user:.2}")),
            format!("{wanted} {}", mark(reached)),
            latency(ours.latency),
            latency(peer.latency),
            format!("{:.1} / {:.1}", ours.resident as f64 / 1e6, peer.resident as f64 / 1e6),
        ])
    }

    /// `peer` may be empty, `goal` too.
    pub fn size(what: &str, ours: String, peer: String, goal: &str, reached: bool) -> Self {
        let goal_reached = if goal.is_empty() { String::new() } else { mark(reached).to_owned() };
        Self::Size([what.to_owned(), ours, peer, goal.to_owned(), goal_reached])
    }
}

fn mark(reached: bool) -> &'static str {
    if reached { "✓" } else { "✗" }
}

fn latency(latency: Option<Latency>) -> String {
    let show = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e6);
    latency.map_or("–".to_owned(), |latency| format!("{} / {}", show(latency.p50), show(latency.p99)))
}

/// Both tables, and under what conditions they came to be.
pub fn render(findings: &[Finding], ours: &str, conditions: &str) -> String {
    let mut text = format!("# {ours} side by side with its peers\n\n{conditions}\n");
    let costs = findings.iter().filter_map(|f| if let Finding::Cost(cells) = f { Some(cells.as_slice()) } else { None });
    table(
        &mut text,
        &[
            "work",
            "ours, µs a unit",
            "peer",
            "peer, µs",
            "ratio",
            "user ratio",
            "goal",
            "p50/p99 ours, µs",
            "p50/p99 peer, µs",
            "RSS ours/peer, MB",
        ],
        costs,
    );
    let sizes = findings.iter().filter_map(|f| if let Finding::Size(cells) = f { Some(cells.as_slice()) } else { None });
    table(&mut text, &["quantity", "ours", "peer", "goal", ""], sizes);
    text
}

fn table<'a>(text: &mut String, heads: &[&str], rows: impl Iterator<Item = &'a [String]>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let _infallible = write!(text, "\n| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for cells in rows {
        let _infallible = writeln!(text, "| {} |", cells.join(" | "));
    }
}

/// The machine, as far as it explains numbers.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model.to_owned()));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, Linux {}", model.as_deref().unwrap_or("unknown processor"), kernel.trim())
}
