//! Handlers that panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::request::{RequestId, Response};

/// Runs a handler; `None` when it panicked. A fault in one application must not end the worker that others share.
pub(in crate::servers) fn guarded<R>(f: impl FnOnce() -> R) -> Option<R> {
    // By reference: given whole, a request and its answer would be moved six times on their way in and out.
    let (mut f, mut result) = (Some(f), None);
    let caught = catch_unwind(AssertUnwindSafe(|| result = f.take().map(|f| f())));
    caught.ok().and(result)
}

pub(in crate::servers) fn broken(id: RequestId) -> Response {
    Response::error(500, &format!("the application failed; the log has more under {id}"))
}
