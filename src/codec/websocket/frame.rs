//! Writing frames (RFC 6455 §5.2).

use bytes::Bytes;

/// Which end of the connection we are: a client masks what it sends, a server does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that accepted.
    Server,
    /// The end that connected.
    Client,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further piece of a message.
    Continuation,
    /// The first piece of a text message.
    Text,
    /// The first piece of a binary message.
    Binary,
    /// The last frame of this end.
    Close,
    /// Asks for a pong with the same payload.
    Ping,
    /// Answers a ping, or says that this end lives.
    Pong,
}

impl Opcode {
    /// The four bits of the header; `None` for reserved ones.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// Whether it is a control frame: short, whole, and allowed between the pieces of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// The first bytes of a frame besides its length and mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub opcode: Opcode,
    /// The last frame of its message.
    pub last: bool,
    /// RSV1: the message is compressed (RFC 7692 §6).
    pub compressed: bool,
}

impl Head {
    /// A whole message in one frame.
    #[must_use]
    pub fn whole(opcode: Opcode) -> Self {
        Self { opcode, last: true, compressed: false }
    }
}

/// The longest header: two bytes, eight of length, four of mask.
pub const MOST_HEADER: usize = 14;

/// Appends a frame. With `mask` (a client's frame) the payload is masked by it (RFC 6455 §5.3).
pub fn write(head: Head, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    out.reserve(MOST_HEADER + payload.len());
    out.push(u8::from(head.last) << 7 | u8::from(head.compressed) << 6 | head.opcode.bits());
    let masked = u8::from(mask.is_some()) << 7;
    match payload.len() {
        length @ 0..=125 => out.push(masked | length as u8),
        length @ 126..=0xffff => {
            out.push(masked | 0x7e);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(masked | 0x7f);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let start = out.len() + if mask.is_some() { 4 } else { 0 };
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask);
    }
}

/// A frame of its own.
#[must_use]
pub fn encode(head: Head, payload: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    let mut out = Vec::with_capacity(MOST_HEADER + payload.len());
    write(head, payload, mask, &mut out);
    out.into()
}

/// Masks or unmasks, which is the same; `mask` is that of the first byte.
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(mask));
    let word = word << 32 | word;
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        // A chunk of eight is an array of eight.
        if let Ok(array) = <&mut [u8; 8]>::try_from(chunk) {
            *array = (u64::from_ne_bytes(*array) ^ word).to_ne_bytes();
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
