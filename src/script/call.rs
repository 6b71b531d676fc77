//! Running a handler on a request: at once as far as it goes, then whenever what it waits for is there, first for the head of the reply,
//! then for the pieces of its body.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use mlua::function::AsyncCallFuture;

use super::app::ScriptApp;
use super::error_page;
use super::lifetime::Lifetime;
use super::reply::{self, Reply, Returned};
use super::request::{self, ScriptRequest};
use super::step::StepKind;
use crate::request::{BodyError, Response, ResponseBody};

/// A handler at work on a request. Dropped before its end, it tells the script that the client has gone.
pub(super) struct RequestCall {
    app: Rc<ScriptApp>,
    request: Rc<ScriptRequest>,
    number: f64,
    /// `None` when the handler has ended.
    call: Option<AsyncCallFuture<Returned>>,
    /// The handler ended because the client left in the middle of its body.
    left: Cell<bool>,
    lifetime: Lifetime,
}

/// How far a handler has come.
pub(super) enum Progress {
    /// It waits.
    Waits,
    /// It has ended with this.
    Ended(mlua::Result<Returned>),
    /// It was terminated.
    Terminated,
}

impl RequestCall {
    pub(super) fn new(app: Rc<ScriptApp>, request: Rc<ScriptRequest>, handler: &mlua::Function) -> RequestCall {
        let number = app.active.insert(request.clone());
        let path = request::decoded_path(request.raw_path());
        // The caller runs the call at once, before another request can take its place.
        let call = match app.passage.put(number, &request.head.method, &path) {
            Ok(()) => handler.call_async(()),
            Err(arguments) => handler.call_async(arguments),
        };
        RequestCall { app, request, number, call: Some(call), left: Cell::new(false), lifetime: Lifetime::new() }
    }

    /// Runs the handler until it waits or ends.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Progress {
        let Some(call) = &mut self.call else { return Progress::Terminated };
        if self.request.terminated.get() {
            self.call = None;
            return Progress::Terminated;
        }
        let polled = {
            let _id = request::enter(self.request.id);
            let _running = self.lifetime.enter();
            let head = &self.request.head;
            let _shown = self.app.vm.show(head.method.as_str(), head.path().as_bytes());
            let _step = self.app.vm.ticket().begin();
            Pin::new(call).poll(cx)
        };
        match polled {
            Poll::Ready(result) => {
                self.call = None;
                Progress::Ended(result)
            }
            Poll::Pending if self.request.terminated.get() => {
                self.call = None;
                Progress::Terminated
            }
            Poll::Pending => {
                let rare = self.request.rare();
                rare.suspended.replace(request::take_suspended());
                rare.waker.replace(Some(cx.waker().clone()));
                Progress::Waits
            }
        }
    }

    /// The reply to a request whose handler has ended, or `None` while it waits.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Option<Reply> {
        let result = match self.advance(cx) {
            Progress::Waits => return None,
            Progress::Ended(result) => result,
            Progress::Terminated => Ok(Returned::default()),
        };
        let reply = result.and_then(|returned| reply::convert(returned, &self.request, &self.app.context.services.sent));
        Some(reply.unwrap_or_else(|error| Reply::Response(self.failed(&error))))
    }

    /// The answer to an error that nobody caught: the status that says so where the client has made it, else 500.
    pub(super) fn failed(&self, error: &mlua::Error) -> Response {
        if let Some(refusal) = error_page::refusal(error) {
            self.left.set(error.chain().any(|cause| cause.downcast_ref::<BodyError>() == Some(&BodyError::Gone)));
            return refusal;
        }
        let _id = request::enter(self.request.id);
        let fault = self.app.context.fault(error);
        self.app.context.report(&format!("{} {}", self.request.head.method, self.request.head.path()), &fault);
        self.app.remember(&fault);
        error_page::response(&self.app.context, &fault, Some(&self.request))
    }

    /// What was written so far is nobody's: a file is sent in its place, when the handler has ended.
    fn discard(&self) {
        self.request.head_sent.set(true);
        self.request.rare().written.borrow_mut().flushing = false;
        self.request.take_written();
    }

    fn writes(&self) -> bool {
        let Some(rare) = self.request.used() else { return false };
        let written = rare.written.borrow();
        written.started && (written.flushing || !written.bytes.is_empty())
    }
}

impl Drop for RequestCall {
    fn drop(&mut self) {
        let aborted = self.call.take().is_some() || self.left.get();
        self.app.active.remove(self.number);
        let Some(hooks) = self.request.used().and_then(|rare| rare.hooks.take()) else { return };
        if aborted && let Some(function) = hooks.onabort {
            self.app.context.spawn(StepKind::Request, self.request.head.path(), function, hooks.request.clone());
        }
        if let Some(function) = hooks.onfinish {
            self.app.context.spawn(StepKind::Request, self.request.head.path(), function, hooks.request);
        }
    }
}

/// Waits for the reply, or for the first piece of one that is written.
pub(super) async fn respond(mut call: RequestCall) -> Response {
    let reply = std::future::poll_fn(|cx| match call.poll_reply(cx) {
        Some(reply) => Poll::Ready(Some(reply)),
        None if call.writes() && call.request.names_file() => {
            call.discard();
            Poll::Pending
        }
        None if call.writes() => Poll::Ready(None),
        None => Poll::Pending,
    });
    match reply.await {
        Some(reply) => finish(reply, call).await,
        None => {
            let mut response = reply::head_of_written(&call.request);
            response.body = ResponseBody::Stream(Box::pin(WrittenBody { call: Some(call) }));
            response
        }
    }
}

/// Makes the response of a reply, opening its file where it has one.
pub(super) async fn finish(reply: Reply, call: RequestCall) -> Response {
    match reply {
        Reply::Response(response) => response,
        Reply::File(file) => match file.open(&call.app.context, &call.request.head).await {
            Ok(response) => response,
            Err(error) => call.failed(&error),
        },
        Reply::Sent(response) => {
            let (context, request) = (&call.app.context, &call.request);
            let log = |why: &str| crate::log_error!(request = &request.id.to_string(), app = &context.name; "{why}");
            context.services.sent.follow(*response, &request.head, log).await
        }
    }
}

/// The body of a reply that the handler writes while it runs.
struct WrittenBody {
    call: Option<RequestCall>,
}

impl futures_lite::Stream for WrittenBody {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(call) = &mut this.call else { return Poll::Ready(None) };
        call.request.rare().written.borrow_mut().flushing = false;
        if let Some(bytes) = call.request.take_written() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        match call.advance(cx) {
            Progress::Waits => match call.request.take_written() {
                Some(bytes) => Poll::Ready(Some(Ok(bytes))),
                None => Poll::Pending,
            },
            Progress::Ended(Ok((rest, ..))) => {
                call.request.rare().written.borrow_mut().bytes.extend_from_slice(&rest.unwrap_or_default());
                this.last()
            }
            Progress::Terminated => this.last(),
            Progress::Ended(Err(error)) => this.broken(&error),
        }
    }
}

impl WrittenBody {
    /// The head is out: the client learns of an error by a body that breaks off.
    fn broken(&mut self, error: &mlua::Error) -> Poll<Option<std::io::Result<Bytes>>> {
        if let Some(call) = self.call.take() {
            drop(call.failed(error));
        }
        Poll::Ready(Some(Err(std::io::Error::other("the application failed"))))
    }

    fn last(&mut self) -> Poll<Option<std::io::Result<Bytes>>> {
        let rest = self.call.take().and_then(|call| call.request.take_written());
        Poll::Ready(rest.map(Ok))
    }
}
