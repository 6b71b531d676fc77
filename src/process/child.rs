//! What every child of the master does alike: run its event loop to the end, and answer the master.

use std::future::Future;
use std::io;
use std::rc::Rc;

use super::ToMaster;
use crate::link::{Port, Pulse};
use crate::scoreboard::Slot;
use crate::{log_error, log_warn, reactor, telemetry};

/// Runs `serve` on an event loop that shows itself in `slot`; gives the exit code of the process. What is in the log's buffer is written at the end.
#[must_use]
pub fn run(slot: Slot, serve: impl Future<Output = i32> + 'static) -> i32 {
    slot.adopt();
    let served = reactor::run(async move {
        Pulse::start(slot);
        serve.await
    });
    let code = served.unwrap_or_else(|error| {
        log_error!("the event loop failed: {error}");
        1
    });
    telemetry::flush();
    code
}

/// Says something to the master. A master that is gone is noticed by who receives from it.
pub fn tell(control: &Rc<Port>, message: &ToMaster) {
    let sent = serde_json::to_vec(message).map_err(io::Error::other).and_then(|body| control.send(&body, &[]));
    if let Err(error) = sent {
        log_warn!("the master cannot be told: {error}");
    }
}
