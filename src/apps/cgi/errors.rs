//! What a program says on its standard error: for the log, or for the answer once that has a body to take it.

use bytes::{Bytes, BytesMut};

use crate::apps::error_log::ErrorLog;

/// What may wait to go into the answer; what is more before there is room is left out.
const WAITING: usize = 64 << 10;

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Into {
    Log,
    /// Into the answer, of which there is no body yet.
    Waiting,
    Answer,
}

pub(super) struct Errors {
    log: ErrorLog,
    into: Into,
    waiting: BytesMut,
}

impl Errors {
    /// `answer`: into the answer, if it takes them.
    pub(super) fn new(log: ErrorLog, answer: bool) -> Self {
        Self { log, into: if answer { Into::Waiting } else { Into::Log }, waiting: BytesMut::new() }
    }

    /// Takes what was said.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.into == Into::Log {
            self.log.push(bytes);
        } else {
            let room = WAITING.saturating_sub(self.waiting.len());
            self.waiting.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The header block is over, and a body follows that may be of any length.
    pub(super) fn answer_takes(&mut self) {
        if self.into == Into::Waiting {
            self.into = Into::Answer;
        }
    }

    /// The answer is over: what is said from now on is for the log.
    pub(super) fn answer_ends(&mut self) {
        self.into = Into::Log;
        self.log.push(&self.waiting.split());
    }

    /// Whether no more should be read for now.
    pub(super) fn is_full(&self) -> bool {
        self.into == Into::Answer && self.waiting.len() >= WAITING
    }

    /// What the answer takes now.
    pub(super) fn piece(&mut self) -> Option<Bytes> {
        (self.into == Into::Answer && !self.waiting.is_empty()).then(|| self.waiting.split().freeze())
    }
}

impl Drop for Errors {
    /// What no answer took is not lost.
    fn drop(&mut self) {
        self.answer_ends();
    }
}
