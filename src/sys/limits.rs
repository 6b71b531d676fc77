//! What the kernel allows this process and shows of it: descriptors, memory, CPU time, its name.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard one and returns it.
///
/// # Errors
/// The kernel refuses.
pub fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Resident memory of this process in bytes, from `/proc/self/statm`; 0 where `/proc` is not mounted (an empty chroot).
#[must_use]
pub fn rss() -> u64 {
    rss_of("self")
}

/// Resident memory of another process in bytes; 0 when it cannot be read.
#[must_use]
pub fn rss_of_pid(pid: i32) -> u64 {
    rss_of(&pid.to_string())
}

fn rss_of(who: &str) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{who}/statm")).unwrap_or_default();
    let pages: u64 = statm.split_ascii_whitespace().nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
    pages * page_size()
}

/// CPU time (user and system) another process has used, in milliseconds; 0 when it cannot be read. From `/proc/PID/stat`, proc(5).
#[must_use]
pub fn cpu_ms(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces: count the fields after the last one.
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0 };
    let ticks: u64 = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks * 1000 / ticks_a_second()
}

fn page_size() -> u64 {
    sysconf(nix::unistd::SysconfVar::PAGE_SIZE, 4096)
}

fn ticks_a_second() -> u64 {
    sysconf(nix::unistd::SysconfVar::CLK_TCK, 100)
}

fn sysconf(variable: nix::unistd::SysconfVar, otherwise: u64) -> u64 {
    nix::unistd::sysconf(variable).ok().flatten().and_then(|v| u64::try_from(v).ok()).filter(|&v| v > 0).unwrap_or(otherwise)
}

/// Names this process as `ps -o comm` shows it; the kernel keeps 15 bytes.
///
/// # Errors
/// The name holds a NUL byte.
pub fn set_title(name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    Ok(nix::sys::prctl::set_name(&name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_more_than_a_page_and_less_than_a_terabyte() {
        assert!((4096..1 << 40).contains(&rss()));
    }

    #[test]
    fn descriptors_reach_the_hard_limit() {
        let hard = raise_descriptors().expect("own limit");
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).expect("own limit").0, hard);
    }

    #[test]
    fn a_process_that_is_not_there_used_nothing() {
        assert_eq!((cpu_ms(i32::MAX), rss_of_pid(i32::MAX)), (0, 0));
    }

    #[test]
    fn a_title_with_nul_is_refused() {
        assert_eq!(set_title("a\0b").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
