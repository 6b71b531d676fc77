//! Records (sections 3.3 and 5): what every byte of a connection belongs to.

use std::fmt;

/// The only version.
const VERSION: u8 = 1;
/// The bytes in front of the content.
const HEADER: usize = 8;
/// The most content of one record, in bytes.
pub const MAX_CONTENT: usize = 0xffff;
/// The most bytes of one record: header, content and padding.
pub const MAX_RECORD: usize = HEADER + MAX_CONTENT + 0xff;
/// Content is cut at this size, so that every record but the last of a piece is a multiple of eight bytes and needs no padding.
const CUT: usize = MAX_CONTENT & !7;
/// The role in which an application answers HTTP requests (section 6.2).
pub const RESPONDER: u16 = 1;
/// `FCGI_KEEP_CONN`.
const KEEP: u8 = 1;

/// The type of a record (section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request begins.
    BeginRequest,
    /// The front wants no answer any more.
    AbortRequest,
    /// A request is answered.
    EndRequest,
    /// Names and values of a request.
    Params,
    /// The body of a request.
    Stdin,
    /// The answer.
    Stdout,
    /// Words for the front's log.
    Stderr,
    /// The second input of a filter.
    Data,
    /// A question about the application.
    GetValues,
    /// The answer to it.
    GetValuesResult,
    /// The answer to a management record that is not understood.
    UnknownType,
    /// Any other.
    Other(u8),
}

impl From<u8> for Kind {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            other => Self::Other(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::BeginRequest => 1,
            Kind::AbortRequest => 2,
            Kind::EndRequest => 3,
            Kind::Params => 4,
            Kind::Stdin => 5,
            Kind::Stdout => 6,
            Kind::Stderr => 7,
            Kind::Data => 8,
            Kind::GetValues => 9,
            Kind::GetValuesResult => 10,
            Kind::UnknownType => 11,
            Kind::Other(number) => number,
        }
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its type.
    pub kind: Kind,
    /// The request it belongs to; 0 for management records.
    pub request: u16,
    /// Its content, without the padding.
    pub content: &'a [u8],
    /// How many bytes of the input it takes.
    pub consumed: usize,
}

/// Why bytes are no records. What follows cannot be understood either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A version other than 1.
    Version(u8),
    /// The content of this type has a length that it cannot have.
    Length(Kind),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "this is no FastCGI 1: the version is {version}"),
            Self::Length(kind) => write!(f, "a record of the type {} has a wrong length", u8::from(*kind)),
        }
    }
}

impl std::error::Error for RecordError {}

/// Takes the record at the front of `input`; `None` while it is not whole. A wrong version shows with the first byte.
///
/// # Errors
/// [`RecordError::Version`].
pub fn decode(input: &[u8]) -> Result<Option<Record<'_>>, RecordError> {
    match input.first() {
        Some(&VERSION) => {}
        Some(&other) => return Err(RecordError::Version(other)),
        None => return Ok(None),
    }
    let Some((&[_, kind, request1, request0, length1, length0, padding, _], rest)) = input.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([length1, length0]));
    let whole = length + usize::from(padding);
    if rest.len() < whole {
        return Ok(None);
    }
    let request = u16::from_be_bytes([request1, request0]);
    Ok(Some(Record { kind: kind.into(), request, content: &rest[..length], consumed: HEADER + whole }))
}

/// Writes content in as many records as it takes; none for no content, which would end a stream: see [`write_end`].
pub fn write_record(kind: Kind, request: u16, content: &[u8], out: &mut Vec<u8>) {
    for piece in content.chunks(CUT) {
        write_one(kind, request, piece, out);
    }
}

/// Writes one record with what `content` adds to the output, up to 65,535 bytes.
pub fn write_with(kind: Kind, request: u16, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write_one(kind, request, &[], out);
    content(out);
    let length = out.len() - start - HEADER;
    let padding = length.next_multiple_of(8) - length;
    // The caller keeps to what a record takes.
    let [length1, length0] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    out[start + 4..start + 7].copy_from_slice(&[length1, length0, padding as u8]);
    out.extend_from_slice(&[0; 7][..padding]);
}

/// Writes the empty record that ends a stream (section 3.3).
pub fn write_end(kind: Kind, request: u16, out: &mut Vec<u8>) {
    write_one(kind, request, &[], out);
}

fn write_one(kind: Kind, request: u16, content: &[u8], out: &mut Vec<u8>) {
    let [request1, request0] = request.to_be_bytes();
    // The callers cut content to what a record takes.
    let [length1, length0] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let padding = content.len().next_multiple_of(8) - content.len();
    out.reserve(HEADER + content.len() + padding);
    out.extend_from_slice(&[VERSION, kind.into(), request1, request0, length1, length0, padding as u8, 0]);
    out.extend_from_slice(content);
    out.extend_from_slice(&[0; 7][..padding]);
}

/// Writes the answer to a management record of a type that is not known (section 4.2).
pub fn write_unknown_type(kind: Kind, out: &mut Vec<u8>) {
    write_one(Kind::UnknownType, 0, &[kind.into(), 0, 0, 0, 0, 0, 0, 0], out);
}

/// The content of [`Kind::BeginRequest`] (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginRequest {
    /// What is asked for: [`RESPONDER`], or a role that is not served here.
    pub role: u16,
    /// The connection stays when the request has ended.
    pub keep: bool,
}

impl BeginRequest {
    /// Reads it.
    ///
    /// # Errors
    /// [`RecordError::Length`].
    pub fn read(content: &[u8]) -> Result<Self, RecordError> {
        let &[role1, role0, flags, _, _, _, _, _] = content else { return Err(RecordError::Length(Kind::BeginRequest)) };
        Ok(Self { role: u16::from_be_bytes([role1, role0]), keep: flags & KEEP != 0 })
    }

    /// Writes the record.
    pub fn write(self, request: u16, out: &mut Vec<u8>) {
        let [role1, role0] = self.role.to_be_bytes();
        write_one(Kind::BeginRequest, request, &[role1, role0, u8::from(self.keep) * KEEP, 0, 0, 0, 0, 0], out);
    }
}

/// How a request ended for the protocol (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolStatus {
    /// It was answered.
    Complete,
    /// Only one request at a time is taken on a connection.
    CannotMultiplex,
    /// There is no room for it.
    Overloaded,
    /// Its role is not served.
    UnknownRole,
}

/// The content of [`Kind::EndRequest`] (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndRequest {
    /// What a CGI program would exit with.
    pub app_status: u32,
    /// How the request ended for the protocol.
    pub protocol: ProtocolStatus,
}

impl EndRequest {
    /// Reads it. A protocol status outside of the specification is taken for [`ProtocolStatus::Overloaded`]: the request was not served.
    ///
    /// # Errors
    /// [`RecordError::Length`].
    pub fn read(content: &[u8]) -> Result<Self, RecordError> {
        let &[a, b, c, d, status, _, _, _] = content else { return Err(RecordError::Length(Kind::EndRequest)) };
        let protocol = match status {
            0 => ProtocolStatus::Complete,
            1 => ProtocolStatus::CannotMultiplex,
            3 => ProtocolStatus::UnknownRole,
            _ => ProtocolStatus::Overloaded,
        };
        Ok(Self { app_status: u32::from_be_bytes([a, b, c, d]), protocol })
    }

    /// Writes the record.
    pub fn write(self, request: u16, out: &mut Vec<u8>) {
        let [a, b, c, d] = self.app_status.to_be_bytes();
        let status = match self.protocol {
            ProtocolStatus::Complete => 0,
            ProtocolStatus::CannotMultiplex => 1,
            ProtocolStatus::Overloaded => 2,
            ProtocolStatus::UnknownRole => 3,
        };
        write_one(Kind::EndRequest, request, &[a, b, c, d, status, 0, 0, 0], out);
    }
}
