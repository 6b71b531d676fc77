//! Buffers for what connections receive, kept for the next connection that needs one: most of them have nothing to read most of the time.

use std::cell::RefCell;

/// How large one is.
pub(super) const SIZE: usize = 16 << 10;
/// Buffers that are kept.
const POOLED: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with something or other in it.
pub(super) fn take() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SIZE])
}

/// Takes a buffer back. One that has grown is freed.
pub(super) fn give_back(buffer: Vec<u8>) {
    if buffer.len() == SIZE {
        // After the thread's end there is no pool, and the buffer is just freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(buffer);
            }
        });
    }
}
