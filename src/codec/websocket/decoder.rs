//! Bytes in, messages out (RFC 6455 §5, §6.2).
//!
//! The decoder takes everything that it is given: what is left of a frame or message stays in it, so that the connection needs no
//! buffer of its own. Between messages it holds nothing.

use std::fmt;
use std::rc::Rc;

use super::close::{self, Close};
use super::deflate::{self, InflateError};
use super::frame::{Kind, Opcode, Role, apply_mask};
use super::utf8::Utf8;

/// The most bytes of a control frame (RFC 6455 §5.5).
const MOST_CONTROL: u64 = 125;
/// What is reserved at once for a message whose frame says that it is long: the rest only as it comes.
const RESERVED: u64 = 16 << 10;

/// What one message may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of a message, decompressed.
    pub message: usize,
    /// Bytes of one frame.
    pub frame: usize,
    /// Frames of one message.
    pub frames: usize,
}

/// What a peer has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message; text is valid UTF-8.
    Message(Kind, Vec<u8>),
    /// A ping, to be answered with the same payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame. Nothing that follows counts.
    Close(Close),
}

/// What a peer did wrong. The connection must be closed with [`Violation::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A reserved bit that no extension gave a meaning.
    ReservedBit,
    /// An opcode that means nothing.
    Opcode,
    /// A client's frame without mask, or a server's with one.
    Mask,
    /// A length in more bytes than it needs, or with its highest bit set.
    Length,
    /// A control frame that is fragmented or longer than 125 bytes.
    Control,
    /// A continuation of nothing, or a new message before the end of the one under way.
    Fragments,
    /// A close frame with a wrong code or a single byte.
    Close,
    /// Text that is not UTF-8.
    Utf8,
    /// A compressed message that cannot be decompressed.
    Compression,
    /// A message or a frame is larger than allowed, or has too many pieces.
    TooLarge,
}

impl Violation {
    /// The close code that answers it (RFC 6455 §7.4.1).
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Utf8 | Self::Compression => close::INVALID_DATA,
            Self::TooLarge => close::TOO_LARGE,
            _ => close::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBit => "a reserved bit is set",
            Self::Opcode => "a reserved opcode",
            Self::Mask => "a frame is masked where it must not be, or not masked where it must",
            Self::Length => "a malformed length",
            Self::Control => "a control frame is fragmented or too long",
            Self::Fragments => "fragments out of order",
            Self::Close => "a malformed close frame",
            Self::Utf8 => "a text is not UTF-8",
            Self::Compression => "a message cannot be decompressed",
            Self::TooLarge => "a message is too large",
        })
    }
}

impl std::error::Error for Violation {}

/// The frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    /// Bytes of payload still to come.
    left: u64,
    /// Turned so that its first byte is for the next byte of the payload.
    mask: [u8; 4],
}

/// The message that is arriving.
#[derive(Debug)]
struct Assembly {
    kind: Kind,
    compressed: bool,
    frames: usize,
    utf8: Utf8,
    data: Vec<u8>,
}

/// What has arrived of a ping, pong or close. Connections are silent mostly, and then have none.
#[derive(Debug, Default)]
struct Control(Vec<u8>);

/// Reads what the peer sends.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    /// permessage-deflate was agreed on.
    deflate: bool,
    limits: Rc<MessageLimits>,
    /// The header under way.
    header: [u8; 14],
    header_length: u8,
    frame: Option<Frame>,
    control: Option<Box<Control>>,
    message: Option<Box<Assembly>>,
    ended: bool,
}

impl Decoder {
    /// A decoder of what the other end sends to an end of this role.
    #[must_use]
    pub fn new(role: Role, deflate: bool, limits: Rc<MessageLimits>) -> Self {
        Self { role, deflate, limits, header: [0; 14], header_length: 0, frame: None, control: None, message: None, ended: false }
    }

    /// Whether a frame or a message has begun that has not ended.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        self.header_length > 0 || self.frame.is_some() || self.message.is_some()
    }

    /// Takes bytes from the front of `input` up to the end of the next event; `None` when all are taken and there is none.
    /// After a close frame or a violation everything is taken and nothing given.
    ///
    /// # Errors
    /// [`Violation`]; nothing more can be read then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        if self.ended {
            *input = &[];
            return Ok(None);
        }
        let result = self.advance(input);
        if matches!(result, Err(_) | Ok(Some(Event::Close(_)))) {
            self.ended = true;
            self.message = None;
            *input = &[];
        }
        result
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        loop {
            if self.frame.is_none() {
                if !self.take_header(input)? {
                    return Ok(None);
                }
            } else if input.is_empty() {
                return Ok(None);
            }
            if let Some(event) = self.take_payload(input)? {
                return Ok(Some(event));
            }
        }
    }

    /// Takes bytes of the header; `true` when it is whole.
    fn take_header(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        loop {
            let have = usize::from(self.header_length);
            let need = self.header_need()?;
            if have == need {
                self.begin_frame()?;
                return Ok(true);
            }
            let count = (need - have).min(input.len());
            if count == 0 {
                return Ok(false);
            }
            let (front, rest) = input.split_at(count);
            self.header[have..have + count].copy_from_slice(front);
            self.header_length += count as u8;
            *input = rest;
        }
    }

    /// How long the header is, as far as can be told; what can be wrong with its first two bytes is found here.
    fn header_need(&self) -> Result<usize, Violation> {
        if self.header_length < 1 {
            return Ok(1);
        }
        self.check_first()?;
        if self.header_length < 2 {
            return Ok(2);
        }
        let [first, second] = [self.header[0], self.header[1]];
        let masked = second & 0x80 != 0;
        if masked != (self.role == Role::Server) {
            return Err(Violation::Mask);
        }
        let control = first & 0x08 != 0;
        if control && u64::from(second & 0x7f) > MOST_CONTROL {
            return Err(Violation::Control);
        }
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        Ok(2 + length + if masked { 4 } else { 0 })
    }

    fn check_first(&self) -> Result<(), Violation> {
        let first = self.header[0];
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::Opcode)?;
        // RSV1 belongs to the first frame of a message (RFC 7692 §6).
        let may_compress = self.deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || (first & 0x40 != 0 && !may_compress) {
            return Err(Violation::ReservedBit);
        }
        if opcode.is_control() {
            return if first & 0x80 == 0 { Err(Violation::Control) } else { Ok(()) };
        }
        if (opcode == Opcode::Continuation) == self.message.is_none() {
            return Err(Violation::Fragments);
        }
        Ok(())
    }

    /// Takes the header, which is whole, apart.
    fn begin_frame(&mut self) -> Result<(), Violation> {
        let header = &self.header[..usize::from(self.header_length)];
        let (rest, mask) = if self.role == Role::Server { header.split_at(header.len() - 4) } else { (header, &[0; 4][..]) };
        let length = match &rest[2..] {
            [] => u64::from(rest[1] & 0x7f),
            &[high, low] => u64::from(u16::from_be_bytes([high, low])),
            long => long.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let least = match rest.len() {
            2 => 0,
            4 => 126,
            _ => 0x1_0000,
        };
        if length < least || length >> 63 != 0 {
            return Err(Violation::Length);
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        let (last, compressed) = (rest[0] & 0x80 != 0, rest[0] & 0x40 != 0);
        let opcode = Opcode::from_bits(rest[0] & 0x0f).ok_or(Violation::Opcode)?;
        self.header_length = 0;
        if !opcode.is_control() {
            self.begin_piece(opcode, compressed, length)?;
        }
        self.frame = Some(Frame { opcode, last, left: length, mask });
        Ok(())
    }

    /// Counts a piece of a message against the limits before any of it is kept.
    fn begin_piece(&mut self, opcode: Opcode, compressed: bool, length: u64) -> Result<(), Violation> {
        let kind = if opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
        let message =
            self.message.get_or_insert_with(|| Box::new(Assembly { kind, compressed, frames: 0, utf8: Utf8::default(), data: Vec::new() }));
        message.frames += 1;
        let whole = length.saturating_add(message.data.len() as u64);
        if length > self.limits.frame as u64 || whole > self.limits.message as u64 || message.frames > self.limits.frames {
            return Err(Violation::TooLarge);
        }
        if message.frames == 1 {
            message.data.reserve_exact(length.min(RESERVED) as usize);
        }
        Ok(())
    }

    /// Takes payload; an event when its frame and message are whole.
    fn take_payload(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
        let (front, rest) = input.split_at(count);
        *input = rest;
        let target = match (frame.opcode.is_control(), &mut self.message) {
            (false, Some(message)) => &mut message.data,
            _ => &mut self.control.get_or_insert_default().0,
        };
        let start = target.len();
        target.extend_from_slice(front);
        if self.role == Role::Server {
            apply_mask(&mut target[start..], frame.mask);
            frame.mask.rotate_left(count % 4);
        }
        frame.left -= count as u64;
        let frame = *frame;
        if let (false, Some(message)) = (frame.opcode.is_control(), &mut self.message)
            && message.kind == Kind::Text
            && !message.compressed
        {
            let Assembly { utf8, data, .. } = &mut **message;
            if !utf8.take(&data[start..]) {
                return Err(Violation::Utf8);
            }
        }
        if frame.left > 0 {
            return Ok(None);
        }
        self.frame = None;
        self.end_frame(frame)
    }

    fn take_control(&mut self) -> Vec<u8> {
        self.control.take().map(|control| control.0).unwrap_or_default()
    }

    fn end_frame(&mut self, frame: Frame) -> Result<Option<Event>, Violation> {
        match frame.opcode {
            Opcode::Ping => Ok(Some(Event::Ping(self.take_control()))),
            Opcode::Pong => Ok(Some(Event::Pong(self.take_control()))),
            Opcode::Close => match Close::parse(&self.take_control()) {
                Ok(close) => Ok(Some(Event::Close(close))),
                Err(close::INVALID_DATA) => Err(Violation::Utf8),
                Err(_) => Err(Violation::Close),
            },
            _ if !frame.last => Ok(None),
            _ => self.end_message(),
        }
    }

    fn end_message(&mut self) -> Result<Option<Event>, Violation> {
        let Some(mut message) = self.message.take() else { return Ok(None) };
        if message.compressed {
            let data = deflate::inflate(&message.data, self.limits.message).map_err(|error| match error {
                InflateError::Malformed => Violation::Compression,
                InflateError::TooLarge => Violation::TooLarge,
            })?;
            if message.kind == Kind::Text && std::str::from_utf8(&data).is_err() {
                return Err(Violation::Utf8);
            }
            return Ok(Some(Event::Message(message.kind, data)));
        }
        if message.kind == Kind::Text && !message.utf8.end() {
            return Err(Violation::Utf8);
        }
        Ok(Some(Event::Message(message.kind, message.data)))
    }
}
