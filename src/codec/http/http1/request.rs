//! Reading request heads (RFC 9112 §2–§6), strictly: what two programs could read differently is refused.

use std::fmt;
use std::mem::MaybeUninit;

use super::framing::{Declared, Framing, FramingError, Persistence};
use super::lines::{LineError, LineScanner};
use super::{BodyFraming, HeadLimits, MAX_FIELDS, Usual};
use crate::codec::http::authority;
use crate::codec::http::fields::{Fields, Span, check_name, is_token_byte};
use crate::codec::http::head::{Placement, RequestHead, TargetError, Version};
use crate::codec::http::method::Method;

/// Longer methods are refused as unknown.
const MAX_METHOD: usize = 64;

/// The outcome of one look at the input.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once; a box would be an allocation a request")]
pub enum Parsed {
    /// The head has not arrived whole. Call again with the same bytes and more.
    Partial,
    /// The head is whole.
    Complete(ParsedRequest),
}

/// A whole head and what it means for the connection.
#[derive(Debug)]
pub struct ParsedRequest {
    /// Method, target and fields.
    pub head: RequestHead,
    /// Bytes of the input that belong to the head; the body starts behind them.
    pub consumed: usize,
    /// Never [`BodyFraming::UntilClose`].
    pub framing: BodyFraming,
    /// Whether the client is willing to use the connection again.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Whether it names another protocol to go on with (RFC 9110 §7.8).
    pub upgrade: bool,
}

/// Why a request head is refused. After any of these the connection must be closed: where the next request would
/// start is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A line ends with LF alone instead of CR LF.
    BareLineFeed,
    /// A CR is not followed by LF.
    BareCarriageReturn,
    /// More than one empty line stands before the request.
    EmptyLines,
    /// The method has a character that does not belong there.
    MethodCharacter,
    /// The method is longer than any that is known.
    MethodTooLong,
    /// The request line is not METHOD TARGET HTTP/1.1.
    RequestLine,
    /// The request target is not acceptable.
    Target(TargetError),
    /// CONNECT is not supported here.
    ConnectUnsupported,
    /// The request line is too long.
    LineTooLong,
    /// A header name has a character that does not belong there.
    FieldName,
    /// White space stands between a header name and its colon.
    SpaceBeforeColon,
    /// A header line starts with white space.
    FoldedField,
    /// A header value has a control character.
    FieldValue,
    /// A header field is too long.
    FieldTooLong,
    /// There are too many header fields.
    TooManyFields,
    /// The header fields are too large together.
    HeadTooLarge,
    /// The Host header is missing.
    HostMissing,
    /// The Host header is repeated.
    HostRepeated,
    /// The Host header is not a valid host.
    HostInvalid,
    /// Content-Length is repeated or not a plain number.
    BadLength,
    /// Content-Length and Transfer-Encoding are both given.
    LengthAndCoding,
    /// Transfer-Encoding is given in HTTP/1.0.
    CodingInOldVersion,
    /// A transfer coding other than chunked is given.
    UnknownCoding,
    /// An expectation other than 100-continue is given.
    UnknownExpectation,
    /// The protocol version is not HTTP/1.0 or HTTP/1.1.
    Version,
}

impl HeadError {
    /// The status code that tells the client.
    pub fn status(self) -> u16 {
        match self {
            Self::LineTooLong => 414,
            Self::FieldTooLong | Self::TooManyFields | Self::HeadTooLarge => 431,
            Self::UnknownCoding | Self::MethodTooLong | Self::ConnectUnsupported => 501,
            Self::UnknownExpectation => 417,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// What is wrong, in words for the client's developer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BareLineFeed => "a line ends with LF alone instead of CR LF",
            Self::BareCarriageReturn => "a CR is not followed by LF",
            Self::EmptyLines => "more than one empty line stands before the request",
            Self::MethodCharacter => "the method has a character that does not belong there",
            Self::MethodTooLong => "the method is longer than any that is known",
            Self::RequestLine => "the request line is not METHOD TARGET HTTP/1.1",
            Self::Target(TargetError::Character) => "the request target has a character that does not belong there",
            Self::Target(TargetError::Form) => "the request target has a form that does not go with its method",
            Self::Target(TargetError::Authority) => "the request target names an invalid host",
            Self::ConnectUnsupported => "CONNECT is not supported here",
            Self::LineTooLong => "the request line is too long",
            Self::FieldName => "a header name has a character that does not belong there",
            Self::SpaceBeforeColon => "white space stands between a header name and its colon",
            Self::FoldedField => "a header line starts with white space",
            Self::FieldValue => "a header value has a control character",
            Self::FieldTooLong => "a header field is too long",
            Self::TooManyFields => "there are too many header fields",
            Self::HeadTooLarge => "the header fields are too large together",
            Self::HostMissing => "the Host header is missing",
            Self::HostRepeated => "the Host header is repeated",
            Self::HostInvalid => "the Host header is not a valid host",
            Self::BadLength => "Content-Length is repeated or not a plain number",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding are both given",
            Self::CodingInOldVersion => "Transfer-Encoding is given in HTTP/1.0",
            Self::UnknownCoding => "a transfer coding other than chunked is given",
            Self::UnknownExpectation => "an expectation other than 100-continue is given",
            Self::Version => "the protocol version is not HTTP/1.0 or HTTP/1.1",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for HeadError {}

impl From<LineError> for HeadError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::BareLineFeed => Self::BareLineFeed,
            LineError::StartTooLong => Self::LineTooLong,
            LineError::FieldTooLong => Self::FieldTooLong,
            LineError::TooManyFields => Self::TooManyFields,
            LineError::TooLarge => Self::HeadTooLarge,
        }
    }
}

impl From<FramingError> for HeadError {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::BadLength => Self::BadLength,
            FramingError::LengthAndCoding => Self::LengthAndCoding,
            FramingError::UnknownCoding => Self::UnknownCoding,
            FramingError::CodingInOldVersion => Self::CodingInOldVersion,
        }
    }
}

/// Parses a head that is expected to be in `buf` from its first byte. For input that arrives in pieces use
/// [`RequestParser`], which does not look at a byte twice.
///
/// # Errors
/// See [`HeadError`].
pub fn parse_request(buf: &[u8], limits: &HeadLimits) -> Result<Parsed, HeadError> {
    RequestParser::new(*limits).parse(buf)
}

/// Parses the heads of one connection, one after another.
#[derive(Clone, Debug)]
pub struct RequestParser {
    limits: HeadLimits,
    scanner: LineScanner,
    /// Where the request line starts: behind an empty line, if there was one.
    start: usize,
    /// How much of the method was found to be valid, until its end was seen.
    method: Option<usize>,
}

impl RequestParser {
    /// A parser at the start of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, scanner: LineScanner::default(), start: 0, method: Some(0) }
    }

    /// Looks for a head at the start of `buf`. After [`Parsed::Partial`] the next call must bring the same bytes and
    /// more behind them; after [`Parsed::Complete`] the parser is ready for the next head, which must start at the
    /// first byte of the next `buf`.
    ///
    /// # Errors
    /// See [`HeadError`]; the parser is of no further use then.
    pub fn parse(&mut self, buf: &[u8]) -> Result<Parsed, HeadError> {
        if let Some(parsed) = self.usual(buf).and_then(Usual::into_request) {
            return Ok(Parsed::Complete(parsed));
        }
        self.parse_lines(buf)
    }

    /// [`RequestParser::parse`] for who knows already that the head is not [`usual`](RequestParser::usual).
    ///
    /// # Errors
    /// As there.
    pub fn parse_lines(&mut self, buf: &[u8]) -> Result<Parsed, HeadError> {
        if !self.skip_empty_line(buf)? || !self.check_method(buf)? {
            return Ok(Parsed::Partial);
        }
        let Some(end) = self.scanner.end_of_head(buf, self.start, &self.limits)? else {
            return Ok(Parsed::Partial);
        };
        let parsed = read_head(&buf[self.start..end], end)?;
        self.scanner = LineScanner::default();
        self.start = 0;
        self.method = Some(0);
        Ok(Parsed::Complete(parsed))
    }

    /// Looks for a head of the usual kind at the start of `buf`, and takes nothing of it. `None` says nothing: [`RequestParser::parse`] does.
    pub fn usual<'a>(&self, buf: &'a [u8]) -> Option<Usual<'a>> {
        let is_fresh = self.start == 0 && self.method == Some(0);
        if is_fresh { Usual::read(buf, &self.limits) } else { None }
    }

    /// One empty line in front of a request is tolerated (RFC 9112 §2.2). Whether enough arrived to go on.
    fn skip_empty_line(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        if self.start > 0 {
            return Ok(true);
        }
        match buf {
            [] | [b'\r'] => Ok(false),
            [b'\r', b'\n', ..] => {
                self.start = 2;
                self.scanner.skip(2);
                Ok(true)
            }
            [b'\r', ..] => Err(HeadError::BareCarriageReturn),
            [b'\n', ..] => Err(HeadError::BareLineFeed),
            _ => Ok(true),
        }
    }

    /// Refuses what cannot be a request at once, so that a TLS handshake sent here need not time out. Whether enough
    /// arrived to go on.
    fn check_method(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        let Some(checked) = self.method else {
            return Ok(true);
        };
        let bytes = &buf[self.start..];
        match bytes[checked..].iter().position(|&byte| !is_token_byte(byte)) {
            _ if bytes.len() > MAX_METHOD && bytes[..=MAX_METHOD].iter().all(|&byte| is_token_byte(byte)) => Err(HeadError::MethodTooLong),
            None => {
                self.method = Some(bytes.len());
                Ok(!bytes.is_empty())
            }
            Some(0) if checked == 0 && bytes[0] == b'\r' => Err(HeadError::EmptyLines),
            Some(at) if checked + at > 0 && bytes[checked + at] == b' ' => {
                self.method = None;
                Ok(true)
            }
            Some(_) => Err(HeadError::MethodCharacter),
        }
    }
}

/// Reads a whole head, from the first byte of the request line to the empty line. Every line in it ends with CR LF.
fn read_head(bytes: &[u8], consumed: usize) -> Result<ParsedRequest, HeadError> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut raw = httparse::Request::new(&mut []);
    match raw.parse_with_uninit_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::RequestLine),
        Err(error) => return Err(explain(error, bytes)),
    }
    read_parts(&raw, bytes, consumed)
}

fn read_parts(raw: &httparse::Request<'_, '_>, bytes: &[u8], consumed: usize) -> Result<ParsedRequest, HeadError> {
    let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(HeadError::RequestLine);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let offset_of = |part: &[u8]| part.as_ptr().addr() - bytes.as_ptr().addr();

    let method = Method::from_token(method);
    let placement = Placement::read(&method, target).map_err(HeadError::Target)?;

    let lines = raw.headers.first().map_or(bytes.len(), |first| offset_of(first.name.as_bytes()));
    let mut fields = Fields::pooled();
    let mut meaning = Meaning::default();
    for header in raw.headers.iter() {
        let name = Span::new(offset_of(header.name.as_bytes()) - lines, header.name.len());
        let value = Span::new(offset_of(header.value) - lines, header.value.len());
        fields.announce(name, value);
        meaning.take(header.name.as_bytes(), header.value, value);
    }
    fields.fill(&bytes[lines..]);
    let (framing, expect_continue) = meaning.conclude(&method, version)?;
    let keep_alive = meaning.persistence.keep_alive(version);
    let head = RequestHead::from_parts(method, version, target, fields, placement.with_host(meaning.host));
    Ok(ParsedRequest { head, consumed, framing, keep_alive, expect_continue, upgrade: meaning.upgrade })
}

/// What the fields that concern the connection say, gathered while they are read.
#[derive(Default)]
pub(super) struct Meaning {
    pub(super) host: Option<Span>,
    host_error: Option<HeadError>,
    framing: Framing,
    pub(super) persistence: Persistence,
    expect: Option<bool>,
    pub(super) upgrade: bool,
}

impl Meaning {
    pub(super) fn take(&mut self, name: &[u8], value: &[u8], span: Span) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            4 if is("host") => {
                if self.host.replace(span).is_some() {
                    self.host_error = Some(HeadError::HostRepeated);
                } else if !authority::is_valid(value) {
                    self.host_error = Some(HeadError::HostInvalid);
                }
            }
            6 if is("expect") => self.expect = Some(self.expect != Some(false) && value.eq_ignore_ascii_case(b"100-continue")),
            7 if is("upgrade") => self.upgrade = true,
            10 if is("connection") => self.persistence.connection(value),
            14 if is("content-length") => self.framing.content_length(value),
            17 if is("transfer-encoding") => self.framing.transfer_encoding(value),
            _ => {}
        }
    }

    /// How the body is framed, and whether the client waits to be told to send it.
    pub(super) fn conclude(&self, method: &Method, version: Version) -> Result<(BodyFraming, bool), HeadError> {
        if let Some(error) = self.host_error {
            return Err(error);
        }
        if self.host.is_none() && version == Version::Http11 {
            return Err(HeadError::HostMissing);
        }
        let framing = match self.framing.declared(version)? {
            Declared::Nothing => BodyFraming::None,
            Declared::Length(length) => BodyFraming::Length(length),
            Declared::Chunked => BodyFraming::Chunked,
        };
        if *method == Method::Connect {
            return Err(HeadError::ConnectUnsupported);
        }
        let has_body = !matches!(framing, BodyFraming::None | BodyFraming::Length(0));
        match self.expect {
            Some(false) if version == Version::Http11 => Err(HeadError::UnknownExpectation),
            expect => Ok((framing, expect == Some(true) && version == Version::Http11 && has_body)),
        }
    }
}

/// Finds the words for what httparse refused; only for the unhappy path.
fn explain(error: httparse::Error, bytes: &[u8]) -> HeadError {
    if memchr::memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1) != Some(&b'\n')) {
        return HeadError::BareCarriageReturn;
    }
    let mut lines = bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::HeaderValue => HeadError::FieldValue,
        httparse::Error::HeaderName => explain_field(lines),
        _ => explain_request_line(request_line),
    }
}

fn explain_request_line(line: &[u8]) -> HeadError {
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    match parts[..] {
        [_, target, _] if target.iter().any(|&byte| byte < b' ' || byte == 0x7f) || std::str::from_utf8(target).is_err() => {
            HeadError::Target(TargetError::Character)
        }
        [_, target, version] if !target.is_empty() => match version {
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => HeadError::Version,
            _ => HeadError::RequestLine,
        },
        _ => HeadError::RequestLine,
    }
}

fn explain_field<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeadError {
    for line in lines {
        let name = &line[..memchr::memchr(b':', line).unwrap_or(line.len())];
        match name {
            [b' ' | b'\t', ..] => return HeadError::FoldedField,
            [token @ .., b' ' | b'\t'] if check_name(token.trim_ascii_end()).is_ok() => {
                return HeadError::SpaceBeforeColon;
            }
            _ if name.len() == line.len() || check_name(name).is_err() => {
                return HeadError::FieldName;
            }
            _ => {}
        }
    }
    HeadError::FieldName
}
