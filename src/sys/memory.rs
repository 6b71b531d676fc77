//! Giving memory back that was needed for the start only.

use std::ffi::c_void;
use std::fs;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Lets go of what this process has mapped of its own program file and can be read from there again, and of free heap. The master
/// calls it once it serves: reading a configuration touches much code that is not needed again for days.
pub fn trim() {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (start, length) in clean_code(&maps) {
        let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(start)) else { continue };
        // SAFETY: the mapping is private, of a file, not writable, and none of its pages differs from the file (no relocation was
        // written to it): a page that is dropped is read from the file again, with the same bytes, when it is next touched.
        // A failure only means that nothing was given back.
        let _ = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
    }
    // SAFETY: it only gives free memory of the allocator back.
    unsafe { libc::malloc_trim(0) };
}

/// Start and length of every mapping of code and constants: private, of a file, not writable, and no page of it differs from the file
/// (such a page is anonymous, or swapped out; constants that the linker relocated are such pages). The format is that of `/proc/PID/smaps`, proc(5).
fn clean_code(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (fields.next(), fields.next()) else { continue };
        if let Some((start, end)) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            let inode = fields.nth(2).unwrap_or("0");
            let program = matches!(second, "r-xp" | "r--p");
            let range = usize::from_str_radix(start, 16).ok().zip(usize::from_str_radix(end, 16).ok());
            candidate = range.filter(|_| program && inode != "0");
        } else if matches!(first, "Anonymous:" | "Swap:") && second != "0" {
            candidate = None;
        } else if first == "VmFlags:"
            && let Some((start, end)) = candidate.take()
        {
            found.push((start, end - start));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000002000 r--p 00000000 08:01 42   /usr/bin/skep
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
7f0000002000-7f0000005000 r-xp 00002000 08:01 42   /usr/bin/skep
Rss:                  12 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
7f0000005000-7f0000006000 r--p 00005000 08:01 42   /usr/bin/skep
Anonymous:             4 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
7f0000006000-7f0000007000 rw-p 00006000 08:01 42   /usr/bin/skep
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd wr mr mw me
7f0000007000-7f0000008000 r-xp 00000000 00:00 0    [vdso]
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
";

    #[test]
    fn only_what_is_as_in_the_file_is_let_go_of() {
        assert_eq!(clean_code(SMAPS), [(0x7f00_0000_0000, 0x2000), (0x7f00_0000_2000, 0x3000)]);
    }

    #[test]
    fn the_program_runs_on_with_less_memory() {
        let text = "still here".repeat(3);
        trim();
        assert_eq!(text.len(), 30);
        assert!(crate::sys::limits::rss() > 0);
    }
}
