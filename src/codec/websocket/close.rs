//! Close codes and the payload of close frames (RFC 6455 §5.5.1, §7.4).

/// The connection has done what it was for.
pub const NORMAL: u16 = 1000;
/// The endpoint goes away: a server that ends, a page that is left.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// No code was sent; never on the wire.
pub const NO_STATUS: u16 = 1005;
/// The connection broke without a close frame; never on the wire.
pub const ABNORMAL: u16 = 1006;
/// Text that is not UTF-8, or a broken compressed message.
pub const INVALID_DATA: u16 = 1007;
/// The peer did what is not allowed, for instance fell too far behind.
pub const POLICY: u16 = 1008;
/// A message is too large.
pub const TOO_LARGE: u16 = 1009;
/// The server met a condition that it did not expect.
pub const INTERNAL: u16 = 1011;
/// The server cannot keep up; try again later.
pub const TRY_AGAIN: u16 = 1013;

/// The longest reason, in bytes: a control frame has at most 125, and two are the code.
pub const MOST_REASON: usize = 123;

/// Why a connection ends: a code, and a reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code; [`NO_STATUS`] and [`ABNORMAL`] only tell what happened and are never sent.
    pub code: u16,
    /// Words for people, at most [`MOST_REASON`] bytes.
    pub reason: String,
}

impl Close {
    /// A close with this code and reason; a longer reason is cut at a character's border.
    #[must_use]
    pub fn new(code: u16, reason: &str) -> Self {
        let mut end = reason.len().min(MOST_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self { code, reason: reason[..end].to_owned() }
    }

    /// The payload of a close frame; empty for a code that is never sent.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        if !may_be_sent(self.code) {
            return Vec::new();
        }
        let mut payload = self.code.to_be_bytes().to_vec();
        payload.extend_from_slice(self.reason.as_bytes());
        payload
    }

    /// Reads the payload of a close frame; `None` when it breaks the protocol (a single byte, a code that may not be sent).
    ///
    /// # Errors
    /// The code to answer with: [`PROTOCOL_ERROR`], or [`INVALID_DATA`] when the reason is not UTF-8.
    pub fn parse(payload: &[u8]) -> Result<Self, u16> {
        match payload {
            [] => Ok(Self { code: NO_STATUS, reason: String::new() }),
            [_] => Err(PROTOCOL_ERROR),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !may_be_sent(code) {
                    return Err(PROTOCOL_ERROR);
                }
                let reason = std::str::from_utf8(reason).map_err(|_| INVALID_DATA)?;
                Ok(Self { code, reason: reason.to_owned() })
            }
        }
    }
}

/// Whether an endpoint may send this code (RFC 6455 §7.4.2, and the IANA registry): the registered ones without those that only tell
/// what happened, and the ranges of libraries and applications.
#[must_use]
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
