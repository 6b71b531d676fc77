//! A message framed once for all its receivers.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::Bytes;

use crate::codec::websocket::deflate::{self, MOST_WINDOW};
use crate::codec::websocket::frame::{Head, encode};
use crate::codec::websocket::{Kind, Opcode};

/// A message as a server sends it, made once: connections queue the same bytes. The compressed form is made when the first connection wants it.
/// Clones are the same message.
#[derive(Clone)]
pub struct Shared(Rc<Forms>);

struct Forms {
    plain: Bytes,
    kind: Kind,
    /// Where the payload begins in `plain`.
    payload: usize,
    deflated: OnceCell<Option<Bytes>>,
}

impl Shared {
    /// A text message. The caller answers for its being UTF-8, as `str` and JSON are.
    #[must_use]
    pub fn text(payload: &[u8]) -> Self {
        Self::new(Kind::Text, payload)
    }

    /// A binary message.
    #[must_use]
    pub fn binary(payload: &[u8]) -> Self {
        Self::new(Kind::Binary, payload)
    }

    fn new(kind: Kind, payload: &[u8]) -> Self {
        let plain = encode(Head::whole(Opcode::from(kind)), payload, None);
        Self(Rc::new(Forms { payload: plain.len() - payload.len(), plain, kind, deflated: OnceCell::new() }))
    }

    /// The bytes of the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0.plain[self.0.payload..]
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        self.0.plain.clone()
    }

    /// The whole frame for a receiver that decompresses; the plain one when compression makes it no smaller.
    #[must_use]
    pub fn compressed_frame(&self) -> Bytes {
        let deflated = self.0.deflated.get_or_init(|| {
            let head = Head { opcode: self.0.kind.into(), last: true, compressed: true };
            let frame = encode(head, &deflate::deflate(self.payload(), MOST_WINDOW), None);
            (frame.len() < self.0.plain.len()).then_some(frame)
        });
        deflated.clone().unwrap_or_else(|| self.frame())
    }
}
