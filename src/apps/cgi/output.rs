//! The body of a program's answer as it comes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_lite::Stream;

use super::folder::Work;
use super::running::{Failure, Running};

/// Dropped before its end it kills the program: the client has gone.
pub(super) struct Output {
    /// `None` at its end.
    running: Option<Running>,
    /// What must still come, where the program has said how long its body is.
    left: Option<u64>,
    work: Rc<Work>,
}

impl Output {
    pub(super) fn new(running: Running, length: Option<u64>, work: Rc<Work>) -> Self {
        Self { running: Some(running), left: length, work }
    }

    /// The end of the answer. The program may still have something to do.
    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            self.work.leave(running);
        }
    }

    fn fail(&mut self, what: &str) -> Poll<Option<io::Result<Bytes>>> {
        self.running = None;
        self.work.warn(what);
        Poll::Ready(Some(Err(io::Error::other(what.to_owned()))))
    }
}

impl Stream for Output {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == Some(0) {
            self.end();
        }
        let Some(running) = &mut self.running else { return Poll::Ready(None) };
        match ready!(running.poll_body(cx)) {
            Ok(Some(mut piece)) => {
                if let Some(left) = &mut self.left {
                    piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= piece.len() as u64;
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Ok(None) => match self.left {
                Some(left @ 1..) => self.fail(&format!("its body is {left} bytes shorter than its Content-Length")),
                _ => {
                    self.end();
                    Poll::Ready(None)
                }
            },
            Err(Failure::Body(error)) => {
                // The client's doing, and no news for the log.
                self.running = None;
                Poll::Ready(Some(Err(io::Error::other(error.to_string()))))
            }
            Err(failure) => self.fail(&failure.to_string()),
        }
    }
}
