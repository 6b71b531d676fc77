//! A process tree as `/proc` shows it: CPU time and memory.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Sub;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::Result;

/// CPU time used, altogether and by kind.
///
/// The kernel knows the whole to the nanosecond, but user and system time only in clock ticks, by sampling. So rounds may be short for the
/// whole, while the kinds are worth something only when summed over many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// All of it.
    pub total: Duration,
    /// In the program's own code.
    pub user: Duration,
    /// In system calls.
    pub sys: Duration,
}

impl Sub for Cpu {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
            sys: self.sys.saturating_sub(earlier.sys),
        }
    }
}

/// What `/proc/PID/stat` says of one process, as far as needed here (proc_pid_stat(5)).
struct Stat {
    parent: i32,
    /// utime, stime, and those of children that were waited for, in clock ticks.
    user: u64,
    sys: u64,
}

fn parse(stat: &str) -> Option<Stat> {
    // The name in parentheses may hold spaces and parentheses itself; the fields after it do not.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, user: number(11)? + number(13)?, sys: number(12)? + number(14)? })
}

/// Every process below `root`, and `root`.
fn tree(root: i32) -> Result<BTreeMap<i32, Stat>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        // A process may end between the listing and the reading.
        if let Some(stat) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(parse) {
            all.insert(pid, stat);
        }
    }
    let mut below = vec![root];
    let mut index = 0;
    while let Some(&parent) = below.get(index) {
        below.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        index += 1;
    }
    all.retain(|pid, _| below.contains(pid));
    Ok(all)
}

/// The processes of the tree, the root first, then by number.
pub fn members(root: i32) -> Result<Vec<i32>> {
    let mut pids: Vec<i32> = tree(root)?.into_keys().filter(|&pid| pid != root).collect();
    pids.insert(0, root);
    Ok(pids)
}

/// CPU time that the tree has used so far. Processes that ended in the meantime are missing from the total.
pub fn cpu(root: i32) -> Result<Cpu> {
    let second = u64::try_from(sysconf(SysconfVar::CLK_TCK)?.ok_or("no clock tick")?)?;
    let time = |ticks: u64| Duration::from_millis(ticks * 1000 / second);
    let tree = tree(root)?;
    let mut total = 0;
    for pid in tree.keys() {
        total += on_cpu(*pid)?;
    }
    Ok(Cpu {
        total: Duration::from_nanos(total),
        user: time(tree.values().map(|s| s.user).sum()),
        sys: time(tree.values().map(|s| s.sys).sum()),
    })
}

/// Nanoseconds that the threads of a process have run: the first number of `schedstat` (Documentation/scheduler/sched-stats.rst).
fn on_cpu(pid: i32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        if let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) {
            sum += line.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    /// All of it, pages of the binary and of shared memory too.
    pub all: u64,
    /// What only this process has: heap, stacks, written data.
    pub own: u64,
}

/// Resident memory of one process.
pub fn resident(pid: i32) -> Result<Resident> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    };
    Ok(Resident { all: field("VmRSS:")?, own: field("RssAnon:")? })
}

/// Resident memory of the whole tree, in bytes; pages that are shared count in each process.
pub fn resident_tree(root: i32) -> Result<u64> {
    let mut sum = 0;
    for pid in members(root)? {
        sum += resident(pid)?.all;
    }
    Ok(sum)
}

/// Resident memory of the whole tree, in bytes; of a page that several processes share each has its part (`Pss` of proc_pid_smaps_rollup(5)).
pub fn proportional_tree(root: i32) -> Result<u64> {
    let mut sum = 0;
    for pid in members(root)? {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
        sum += line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::{cpu, members, parse, resident};

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 100 0 0 0 11 22 1 2 20 0 1 0 100 0 0";
        let stat = parse(line).unwrap();
        assert_eq!((stat.parent, stat.user, stat.sys), (3, 12, 24));
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(members(own).unwrap()[0], own);
        assert!(resident(own).unwrap().all > 100_000);
        assert!(cpu(own).is_ok());
    }
}
