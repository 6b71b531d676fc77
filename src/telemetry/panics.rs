//! A panic becomes a line of the log with its place and backtrace, in whichever process it happens.

use std::backtrace::Backtrace;
use std::panic;

/// Makes panics go to the log instead of stderr. Once, before the first fork.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)");
        let place = info.location().map_or_else(|| "somewhere".to_owned(), ToString::to_string);
        let trace = Backtrace::force_capture();
        crate::log_error!("panic at {place}: {text}\n{trace}");
    }));
}
