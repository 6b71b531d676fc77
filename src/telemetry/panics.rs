//! A panic becomes a line of the log with its place and backtrace, in whichever process it happens.

use std::backtrace::Backtrace;
use std::panic;

/// Makes panics go to the log instead of stderr, with what `running` says that the process does. Once, before the first fork.
pub fn install_panic_hook(running: fn() -> Option<String>) {
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)");
        let place = info.location().map_or_else(|| "somewhere".to_owned(), ToString::to_string);
        let trace = Backtrace::force_capture();
        let step = running().map_or_else(String::new, |step| format!(" while it ran: {step}"));
        crate::log_error!("panic at {place}{step}: {text}\n{trace}");
    }));
}
