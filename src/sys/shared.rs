//! Memory that forked processes share.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// Maps `count` words, all zero, that this process and every child it forks from now on see and change together.
///
/// The mapping lives as long as the process: a scoreboard is made once.
///
/// # Errors
/// The kernel has no memory, or `count` is zero.
pub fn words(count: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = count
        .checked_mul(size_of::<AtomicU64>())
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: an anonymous mapping at an address the kernel chooses touches no memory of ours.
    let start = unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)? };
    // SAFETY: the mapping is page-aligned, `bytes` long, zeroed (a valid AtomicU64) and never unmapped, hence 'static. It is only
    // ever reached through atomics, here and in other processes, so shared references to it are sound.
    Ok(unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<AtomicU64>(), count) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn words_start_at_zero_and_keep_what_is_stored() {
        let words = words(1000).expect("mapping");
        assert!(words.iter().all(|w| w.load(Relaxed) == 0));
        words[999].store(7, Relaxed);
        assert_eq!(words[999].load(Relaxed), 7);
    }

    #[test]
    fn an_empty_mapping_is_refused() {
        assert_eq!(words(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
