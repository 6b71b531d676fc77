//! Reading response heads, for clients and upstreams (RFC 9112 §4, §6.3).

use std::fmt;
use std::mem::MaybeUninit;

use super::framing::{Declared, Framing, FramingError, Persistence};
use super::lines::{LineError, LineScanner};
use super::{BodyFraming, HeadLimits, MAX_FIELDS};
use crate::codec::http::fields::{Fields, Span};
use crate::codec::http::head::{ResponseHead, Version};
use crate::codec::http::method::Method;
use crate::codec::http::status;

/// Interim responses that are skipped before a final one must come.
const MAX_INTERIM: u8 = 16;

/// A whole final response head and what it means for the connection.
#[derive(Debug)]
pub struct ParsedResponse {
    /// Status and fields.
    pub head: ResponseHead,
    /// Bytes of the input that belong to the head, skipped interim responses included.
    pub consumed: usize,
    /// Where its body ends.
    pub framing: BodyFraming,
    /// Whether the server is willing to use the connection again, once the body is over.
    pub keep_alive: bool,
}

/// Why a response head is refused. The connection cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The status line is not `HTTP/1.x CODE REASON`.
    StatusLine,
    /// A header line is malformed or a line does not end with CR LF.
    Field,
    /// The head passed a limit.
    TooLarge,
    /// The length of the body cannot be told for sure.
    Framing,
    /// More than 16 interim (1xx) responses.
    TooManyInterim,
    /// 101 without having been asked for.
    UnexpectedUpgrade,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StatusLine => "the answer does not start with an HTTP/1.x status line",
            Self::Field => "the answer has a malformed header line",
            Self::TooLarge => "the header of the answer is too large",
            Self::Framing => "the length of the answer is ambiguous",
            Self::TooManyInterim => "the server sent interim answers without end",
            Self::UnexpectedUpgrade => "the server switched protocols without having been asked to",
        })
    }
}

impl std::error::Error for ResponseError {}

impl From<LineError> for ResponseError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::BareLineFeed => Self::Field,
            LineError::StartTooLong | LineError::FieldTooLong | LineError::TooManyFields | LineError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<FramingError> for ResponseError {
    fn from(_: FramingError) -> Self {
        Self::Framing
    }
}

/// Parses the response to one request. Interim responses are skipped, 101 excepted.
#[derive(Clone, Debug)]
pub struct ResponseParser {
    limits: HeadLimits,
    scanner: LineScanner,
    /// Where the head under way starts, behind interim responses.
    start: usize,
    interim: u8,
    method: Method,
    upgrade: bool,
}

impl ResponseParser {
    /// A parser for the response to a request of this method (HEAD has no body); `upgrade` when the request asked for
    /// another protocol, so that 101 is an answer.
    pub fn new(method: Method, upgrade: bool, limits: HeadLimits) -> Self {
        Self { limits, scanner: LineScanner::default(), start: 0, interim: 0, method, upgrade }
    }

    /// Looks for a final response head at the start of `buf`; `None` while it has not arrived. The next call must then
    /// bring the same bytes and more.
    ///
    /// # Errors
    /// See [`ResponseError`].
    pub fn parse(&mut self, buf: &[u8]) -> Result<Option<ParsedResponse>, ResponseError> {
        loop {
            let Some(end) = self.scanner.end_of_head(buf, self.start, &self.limits)? else {
                return Ok(None);
            };
            let mut parsed = self.read_head(&buf[self.start..end])?;
            let code = parsed.head.status;
            if code == 101 && !self.upgrade {
                return Err(ResponseError::UnexpectedUpgrade);
            }
            if code >= 200 || code == 101 {
                parsed.consumed = end;
                return Ok(Some(parsed));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(ResponseError::TooManyInterim);
            }
            self.start = end;
            self.scanner = LineScanner::default();
            self.scanner.skip(end);
        }
    }

    fn read_head(&self, bytes: &[u8]) -> Result<ParsedResponse, ResponseError> {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut raw = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut raw, bytes, &mut slots) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
                return Err(ResponseError::Field);
            }
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
            Ok(httparse::Status::Partial) | Err(_) => return Err(ResponseError::StatusLine),
        }
        let (Some(minor), Some(code), Some(reason)) = (raw.version, raw.code, raw.reason) else {
            return Err(ResponseError::StatusLine);
        };
        if !(100..=999).contains(&code) {
            return Err(ResponseError::StatusLine);
        }
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        let offset_of = |part: &[u8]| part.as_ptr().addr() - bytes.as_ptr().addr();
        let mut fields = Fields::pooled();
        let mut framing = Framing::default();
        let mut persistence = Persistence::default();
        for header in raw.headers.iter() {
            fields.announce(
                Span::new(offset_of(header.name.as_bytes()), header.name.len()),
                Span::new(offset_of(header.value), header.value.len()),
            );
            let is = |wanted: &str| header.name.eq_ignore_ascii_case(wanted);
            match header.name.len() {
                10 if is("connection") => persistence.connection(header.value),
                14 if is("content-length") => framing.content_length(header.value),
                17 if is("transfer-encoding") => framing.transfer_encoding(header.value),
                _ => {}
            }
        }
        fields.fill(bytes);
        let bodiless =
            self.method == Method::Head || status::is_bodiless(code) || (self.method == Method::Connect && (200..300).contains(&code));
        // What is said of a body that does not come is passed on by some, so that it must be right too.
        let framing = match framing.declared(version)? {
            _ if bodiless => BodyFraming::None,
            Declared::Length(length) => BodyFraming::Length(length),
            Declared::Chunked => BodyFraming::Chunked,
            Declared::Nothing => BodyFraming::UntilClose,
        };
        let keep_alive = framing != BodyFraming::UntilClose && persistence.keep_alive(version);
        let head = ResponseHead { status: code, reason: reason.to_owned(), version, fields };
        Ok(ParsedResponse { head, consumed: 0, framing, keep_alive })
    }
}
