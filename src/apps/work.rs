//! A program at work on one request, for who must tell of it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::failure::Failure;
use crate::reactor::Scope;
use crate::request::RequestId;
use crate::{log_error, log_warn};

/// What answers as CGI has it, however it is reached. Dropped before its end it is broken off.
pub(super) trait Program: 'static {
    /// The next piece of output, while the input goes in; `None` at the end.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>>;

    /// Whether it wants nothing more of the request's body.
    fn is_fed(&self) -> bool;

    /// Its answer has a body from here on that takes what it says on its standard error, where the configuration wants that. Gives what it has said before.
    fn errors_into_answer(&mut self) -> Bytes {
        Bytes::new()
    }

    /// Lets it come to its end within its limits; nobody wants its output any more.
    fn finish(self) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>>;
}

/// Names the work in the log.
pub(super) struct Work {
    app: Rc<str>,
    request: String,
    program: String,
    /// Programs whose answers are through and that have not ended.
    scope: Scope,
}

impl Work {
    pub(super) fn new(app: &Rc<str>, request: RequestId, program: &str, scope: &Scope) -> Rc<Self> {
        Rc::new(Self { app: app.clone(), request: request.to_string(), program: program.to_owned(), scope: scope.clone() })
    }

    /// Tells the log what happened.
    pub(super) fn warn(&self, what: &str) {
        log_warn!(request = &self.request, app = &self.app; "{}: {what}", self.program);
    }

    /// Tells the log what somebody should look at.
    pub(super) fn error(&self, what: &str) {
        log_error!(request = &self.request, app = &self.app; "{}: {what}", self.program);
    }

    /// Lets a program end by itself whose answer is through.
    pub(super) fn leave(self: &Rc<Self>, program: impl Program) {
        let work = self.clone();
        self.scope.spawn(async move { work.finish(program).await });
    }

    /// The same before its answer is given: the server takes what is left of the request's body for itself once there is an answer, so a program that still
    /// reads is waited for.
    pub(super) async fn leave_fed(self: &Rc<Self>, program: impl Program) {
        if program.is_fed() {
            self.leave(program);
        } else {
            self.finish(program).await;
        }
    }

    async fn finish(&self, program: impl Program) {
        match program.finish().await {
            Ok(()) | Err(Failure::Body(_)) => {}
            Err(failure) => self.warn(&failure.to_string()),
        }
    }
}
