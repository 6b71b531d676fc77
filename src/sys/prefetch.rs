//! Memory that will be needed soon: asked for now, it is in the processor's caches by then.

/// Bytes that the processor loads at once.
const LINE: usize = 64;

/// Has a value loaded, but for what it points to. Costs a few instructions and waits for nothing. The place may be anywhere: nothing is read
/// that anybody sees.
#[inline]
pub fn value<T>(place: *const T) {
    let start = place.cast::<i8>();
    for at in (0..size_of::<T>()).step_by(LINE) {
        line(start.wrapping_add(at));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn line(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that the program sees, and one of any address faults never.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line(_: *const i8) {}
