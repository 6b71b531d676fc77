//! `multipart/form-data` (RFC 7578, RFC 2046 §5.1) as it streams in: no socket, no copies of content.

use std::fmt;
use std::ops::Range;

use memchr::memmem;

use crate::codec::http::Fields;
use crate::codec::http::parameters::Parameterised;

/// The longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;
/// White space that may follow a boundary on its line.
const MAX_PADDING: usize = 64;
/// The header of one part, with its line ends.
const MAX_HEADER: usize = 8 << 10;
/// Header fields of one part.
const MAX_HEADER_FIELDS: usize = 32;
/// What may stand in front of the first part.
const MAX_PREAMBLE: usize = 8 << 10;

/// The start of a part.
#[derive(Clone, Debug)]
pub struct PartHead {
    /// The field's name, as the client sent it: UTF-8 if it behaves.
    pub name: Vec<u8>,
    /// The name of the file without any directories; `None` for a plain field.
    pub filename: Option<Vec<u8>>,
    /// The content type, as the client sent it.
    pub content_type: Option<Vec<u8>>,
    /// All header fields of the part.
    pub fields: Fields,
}

/// What a piece of input held.
#[derive(Debug)]
pub enum MultipartEvent {
    /// A part starts.
    PartBegin(Box<PartHead>),
    /// Content of the current part: this range of the input just given.
    Data(Range<usize>),
    /// The current part is complete.
    PartEnd,
    /// Give the bytes that were not consumed again, with more behind them.
    NeedMore,
    /// The form is over; whatever follows means nothing.
    End,
}

/// One step: `consumed` bytes of the input are done with, and mean `event`.
#[derive(Debug)]
pub struct MultipartStep {
    /// Bytes of the input to drop from its front.
    pub consumed: usize,
    /// What they held.
    pub event: MultipartEvent,
}

/// Why a form is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipartError {
    /// No boundary in the content type, or one that RFC 2046 does not allow.
    Boundary,
    /// No part starts within the first 8 KiB.
    Preamble,
    /// A line starts with the boundary and goes on with something else.
    Delimiter,
    /// A part's header is malformed.
    Header,
    /// A part's header is above 8 KiB or 32 fields.
    HeaderTooLarge,
    /// A part without `Content-Disposition: form-data; name=…`.
    Name,
    /// The body ended inside the form.
    Truncated,
}

impl MultipartError {
    /// The status code that tells the client.
    pub fn status(self) -> u16 {
        match self {
            Self::HeaderTooLarge => 413,
            _ => 400,
        }
    }
}

impl fmt::Display for MultipartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boundary => "the content type of the form has no valid boundary",
            Self::Preamble => "the form does not start with its boundary",
            Self::Delimiter => "a boundary line of the form is malformed",
            Self::Header => "the header of a form part is malformed",
            Self::HeaderTooLarge => "the header of a form part is too large",
            Self::Name => "a form part has no name",
            Self::Truncated => "the form ends too early",
        })
    }
}

impl std::error::Error for MultipartError {}

/// The boundary that a `Content-Type` names; `None` when it is not `multipart/form-data` at all.
///
/// # Errors
/// [`MultipartError::Boundary`] when it is, but without a valid boundary.
pub fn boundary(content_type: &[u8]) -> Result<Option<Vec<u8>>, MultipartError> {
    let field = Parameterised::new(content_type);
    if !field.value.eq_ignore_ascii_case(b"multipart/form-data") {
        return Ok(None);
    }
    let boundary = field.get("boundary").ok_or(MultipartError::Boundary)?.into_owned();
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    if boundary.is_empty() || boundary.len() > MAX_BOUNDARY || boundary.ends_with(b" ") || !boundary.iter().all(allowed) {
        return Err(MultipartError::Boundary);
    }
    Ok(Some(boundary))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary; with the bytes dropped so far.
    Preamble {
        dropped: usize,
    },
    /// Behind a boundary, on its line.
    Delimiter,
    Header,
    Data,
    End,
}

/// Parses one form. The caller keeps what was not consumed and appends to it.
#[derive(Debug)]
pub struct MultipartParser {
    state: State,
    /// CR LF, two hyphens, boundary.
    delimiter: memmem::Finder<'static>,
    /// Where to look on for the end of a header, so that slow input is not searched again and again.
    scanned: usize,
}

impl MultipartParser {
    /// A parser for a form with this boundary, which came from [`boundary`].
    pub fn new(boundary: &[u8]) -> Self {
        let delimiter = [b"\r\n--", boundary].concat();
        Self { state: State::Preamble { dropped: 0 }, delimiter: memmem::Finder::new(&delimiter).into_owned(), scanned: 0 }
    }

    /// Whether the closing boundary was seen. A body that ends before is [`MultipartError::Truncated`].
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Takes the next step; to be called until [`MultipartEvent::NeedMore`] or [`MultipartEvent::End`]. What is left
    /// unconsumed at [`MultipartEvent::NeedMore`] is never more than 8 KiB.
    ///
    /// # Errors
    /// See [`MultipartError`]; the parser is of no further use then.
    pub fn step(&mut self, input: &[u8]) -> Result<MultipartStep, MultipartError> {
        let need_more = |consumed| Ok(MultipartStep { consumed, event: MultipartEvent::NeedMore });
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match self.state {
                State::End => return Ok(MultipartStep { consumed: input.len(), event: MultipartEvent::End }),
                State::Preamble { dropped } => match self.skip_preamble(rest, dropped)? {
                    (used, true) => {
                        at += used;
                        self.state = State::Delimiter;
                    }
                    (used, false) => return need_more(at + used),
                },
                State::Delimiter => match delimiter_end(rest)? {
                    Some((used, next)) => {
                        at += used;
                        self.state = next;
                        self.scanned = 0;
                    }
                    None => return need_more(at),
                },
                State::Header => {
                    let Some(end) = self.header_end(rest)? else { return need_more(at) };
                    let part = read_part_head(&rest[..end])?;
                    self.state = State::Data;
                    return Ok(MultipartStep { consumed: at + end, event: MultipartEvent::PartBegin(Box::new(part)) });
                }
                State::Data => return Ok(self.data(input, at)),
            }
        }
    }

    /// Drops what stands before the first boundary, which needs no CR LF if it comes first. How much to drop, and
    /// whether the boundary was found.
    fn skip_preamble(&mut self, rest: &[u8], dropped: usize) -> Result<(usize, bool), MultipartError> {
        let delimiter = self.delimiter.needle();
        if dropped == 0 {
            let first = &delimiter[2..];
            if rest.starts_with(first) {
                return Ok((first.len(), true));
            }
            if first.starts_with(rest) {
                return Ok((0, false));
            }
        }
        if let Some(found) = self.delimiter.find(rest) {
            if dropped + found > MAX_PREAMBLE {
                return Err(MultipartError::Preamble);
            }
            return Ok((found + delimiter.len(), true));
        }
        let used = rest.len() - partial_match(rest, delimiter);
        if dropped + used > MAX_PREAMBLE {
            return Err(MultipartError::Preamble);
        }
        self.state = State::Preamble { dropped: dropped + used };
        Ok((used, false))
    }

    /// The offset behind the empty line that ends a part's header.
    fn header_end(&mut self, rest: &[u8]) -> Result<Option<usize>, MultipartError> {
        // A part without any header starts with the empty line.
        let end = if rest.starts_with(b"\r\n") {
            Some(2)
        } else {
            // The end may straddle what was searched before.
            let from = self.scanned.saturating_sub(3);
            memmem::find(&rest[from..], b"\r\n\r\n").map(|found| from + found + 4)
        };
        self.scanned = rest.len();
        match end {
            Some(end) if end <= MAX_HEADER => Ok(Some(end)),
            None if rest.len() < MAX_HEADER => Ok(None),
            _ => Err(MultipartError::HeaderTooLarge),
        }
    }

    /// Content from `at` on, up to the next boundary or to where one might be starting.
    fn data(&mut self, input: &[u8], at: usize) -> MultipartStep {
        let rest = &input[at..];
        let delimiter = self.delimiter.needle();
        if rest.starts_with(delimiter) {
            self.state = State::Delimiter;
            return MultipartStep { consumed: at + delimiter.len(), event: MultipartEvent::PartEnd };
        }
        let end = self.delimiter.find(rest).unwrap_or_else(|| rest.len() - partial_match(rest, delimiter));
        let event = if end == 0 { MultipartEvent::NeedMore } else { MultipartEvent::Data(at..at + end) };
        MultipartStep { consumed: at + end, event }
    }
}

/// How many bytes at the end of `input` might be the start of `needle`.
fn partial_match(input: &[u8], needle: &[u8]) -> usize {
    let tail = &input[input.len().saturating_sub(needle.len() - 1)..];
    memchr::memchr_iter(b'\r', tail).find(|&at| needle.starts_with(&tail[at..])).map_or(0, |at| tail.len() - at)
}

/// What follows a boundary: `--` for the end, else padding and CR LF. `None` while that has not arrived.
fn delimiter_end(rest: &[u8]) -> Result<Option<(usize, State)>, MultipartError> {
    match rest {
        [b'-', b'-', ..] => return Ok(Some((2, State::End))),
        [] | [b'-'] => return Ok(None),
        _ => {}
    }
    let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match rest[padding..] {
        _ if padding > MAX_PADDING => Err(MultipartError::Delimiter),
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some((padding + 2, State::Header))),
        _ => Err(MultipartError::Delimiter),
    }
}

fn read_part_head(bytes: &[u8]) -> Result<PartHead, MultipartError> {
    if memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r') {
        return Err(MultipartError::Header);
    }
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADER_FIELDS];
    let headers = match httparse::parse_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete((_, headers))) => headers,
        Err(httparse::Error::TooManyHeaders) => return Err(MultipartError::HeaderTooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(MultipartError::Header),
    };
    let mut fields = Fields::new();
    for header in headers {
        fields.push(header.name, header.value).map_err(|_| MultipartError::Header)?;
    }
    let disposition = Parameterised::new(fields.get("content-disposition").ok_or(MultipartError::Name)?);
    if !disposition.value.eq_ignore_ascii_case(b"form-data") {
        return Err(MultipartError::Name);
    }
    let name = disposition.get("name").ok_or(MultipartError::Name)?.into_owned();
    let filename = disposition.get("filename").map(|path| base_name(&path).to_vec());
    let content_type = fields.get("content-type").map(<[u8]>::to_vec);
    Ok(PartHead { name, filename, content_type, fields })
}

/// The last segment of a path of any system: some clients send the whole path, and none of it may choose a directory here.
fn base_name(path: &[u8]) -> &[u8] {
    let name = path.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
    if matches!(name, b"." | b"..") { b"" } else { name }
}

#[cfg(test)]
mod tests;
