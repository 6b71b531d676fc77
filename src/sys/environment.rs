//! Environment variables that are meant for this process only and must not reach those it starts.

use super::fork;

/// The variable's value, which is removed from the environment; `None` when it is not set or no text.
#[must_use]
pub fn take(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    if fork::threads().is_ok_and(|count| count == 1) {
        // SAFETY: this is the only thread, so nobody reads the environment at the same time.
        unsafe { std::env::remove_var(name) };
    }
    Some(value)
}
