//! What was read of a body, kept so that it can be given back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Body, BodyError, BodySource};

/// A body that remembers what is read of it, as long as that is little.
pub struct Recording {
    body: Body,
    /// `None` when it was too much.
    pieces: RefCell<Option<VecDeque<Bytes>>>,
    size: Cell<usize>,
    most: usize,
}

impl Recording {
    /// Records what is read through [`Recording::body`], at most so many bytes.
    #[must_use]
    pub fn new(body: Body, most: usize) -> Rc<Recording> {
        Rc::new(Recording { body, pieces: RefCell::new(Some(VecDeque::new())), size: Cell::new(0), most })
    }

    /// The body to read from.
    #[must_use]
    pub fn body(self: &Rc<Self>) -> Body {
        Body::from_source(self.clone(), self.body.length())
    }

    /// The body from its beginning again; one that says `Taken` when more was read than could be remembered.
    #[must_use]
    pub fn rewound(&self) -> Body {
        match self.pieces.take() {
            Some(pieces) => Body::from_source(Rc::new(Rewound { pieces: pieces.into(), body: self.body.clone() }), self.body.length()),
            None => Body::from_source(Rc::new(Taken), self.body.length()),
        }
    }
}

impl BodySource for Recording {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let polled = self.body.poll_chunk(cx);
        if let Poll::Ready(Ok(Some(piece))) = &polled {
            self.size.set(self.size.get() + piece.len());
            let mut pieces = self.pieces.borrow_mut();
            if self.size.get() > self.most {
                *pieces = None;
            } else if let Some(pieces) = &mut *pieces {
                pieces.push_back(piece.clone());
            }
        }
        polled
    }
}

/// What was read already, then the rest.
struct Rewound {
    pieces: RefCell<VecDeque<Bytes>>,
    body: Body,
}

impl BodySource for Rewound {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        match self.pieces.borrow_mut().pop_front() {
            Some(piece) => Poll::Ready(Ok(Some(piece))),
            None => self.body.poll_chunk(cx),
        }
    }
}

/// Nothing is left of it.
struct Taken;

impl BodySource for Taken {
    fn poll_chunk(&self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        Poll::Ready(Err(BodyError::Taken))
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn what_was_read_comes_again_unless_it_was_too_much() {
        let recording = Recording::new(Body::full(Bytes::from_static(b"12345678")), 8);
        assert_eq!(recording.body().length(), Some(8));
        assert_eq!(block_on(recording.body().bytes(4)), Err(BodyError::TooLarge(4)));
        let front = recording.rewound();
        assert_eq!((front.length(), block_on(front.bytes(8))), (Some(8), Ok(Bytes::from_static(b"12345678"))));

        let recording = Recording::new(Body::full(Bytes::from_static(b"12345678")), 8);
        assert_eq!(block_on(recording.body().bytes(100)), Ok(Bytes::from_static(b"12345678")));
        let again = Recording::new(recording.rewound(), 7);
        assert_eq!(block_on(again.body().chunk()), Ok(Some(Bytes::from_static(b"12345678"))));
        assert_eq!(block_on(again.rewound().chunk()), Err(BodyError::Taken));
    }
}
