//! What a CGI program answers (RFC 3875 §6), without a pipe: the header block, and what it comes to. FastCGI applications answer the same.

use std::fmt;

use super::http::Fields;

#[cfg(test)]
mod tests;

/// How large a header block may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Bytes, the empty line included.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

impl Default for BlockLimits {
    fn default() -> Self {
        Self { bytes: 64 << 10, fields: 200 }
    }
}

/// What the header block says.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A document, or a redirect that the client follows: status and fields are for it.
    Document {
        /// 200 to 599.
        status: u16,
        /// The fields but `Status`.
        fields: Fields,
        /// How long the program says its body is, in bytes.
        length: Option<u64>,
    },
    /// The answer is that of another path of this server (§6.2.2); a query may follow it.
    LocalRedirect(String),
}

/// Why bytes are no header block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The output ended first, after so many bytes.
    Ended(usize),
    /// It begins with the empty line: there are no fields.
    Empty,
    /// It is larger than the limit in bytes.
    TooLarge(usize),
    /// There are more fields than the limit.
    TooMany(usize),
    /// A line that is no field; the line, cut and made harmless.
    NoField(String),
    /// A field that goes on in another line, which is obsolete and not taken; its name.
    Folded(String),
    /// A field with a name or a value that cannot be passed on; its name.
    BadField(String),
    /// `Status` is no status between 200 and 599.
    BadStatus(String),
    /// `Content-Length` is no number.
    BadLength(String),
    /// A field that may be there once.
    Twice(&'static str),
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(0) => f.write_str("the output ended without a byte"),
            Self::Ended(bytes) => {
                write!(f, "the output ended after {bytes} bytes, inside the header block: is there an empty line behind it?")
            }
            Self::Empty => f.write_str("there are no header fields in front of the empty line"),
            Self::TooLarge(limit) => write!(f, "the header block is larger than {limit} bytes"),
            Self::TooMany(limit) => write!(f, "there are more than {limit} header fields"),
            Self::NoField(line) => write!(f, "a line of the header block is no field: {line:?}"),
            Self::Folded(name) => write!(f, "the field {name} goes on in another line"),
            Self::BadField(name) => write!(f, "the field {name:?} has characters that no field may have"),
            Self::BadStatus(value) => write!(f, "{value:?} is no status of an answer"),
            Self::BadLength(value) => write!(f, "{value:?} is no length"),
            Self::Twice(name) => write!(f, "there are two fields {name}"),
        }
    }
}

impl std::error::Error for BlockError {}

/// Finds the end of a header block in output that comes in pieces, without reading any byte twice.
#[derive(Clone, Debug, Default)]
pub struct BlockParser {
    /// Where the present line starts.
    line: usize,
    /// How far it was looked at.
    seen: usize,
    /// Whole lines.
    lines: usize,
}

impl BlockParser {
    /// What the block says and how many bytes it takes, or `None` while it is not whole. `input` starts with the same bytes each time and may only
    /// grow.
    ///
    /// # Errors
    /// [`BlockError`], but for [`BlockError::Ended`], which is for who sees the end of the output.
    pub fn parse(&mut self, input: &[u8], limits: BlockLimits) -> Result<Option<(Reply, usize)>, BlockError> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.seen..]) {
            let end = self.seen + found;
            if end >= limits.bytes {
                return Err(BlockError::TooLarge(limits.bytes));
            }
            let line = &input[self.line..end];
            self.line = end + 1;
            self.seen = end + 1;
            if line.is_empty() || line == b"\r" {
                return if self.lines == 0 { Err(BlockError::Empty) } else { read(&input[..end]).map(|reply| Some((reply, end + 1))) };
            }
            // Said at the first line: a program without a header block may have written a whole document.
            check_line(line)?;
            if self.lines == limits.fields {
                return Err(BlockError::TooMany(limits.fields));
            }
            self.lines += 1;
        }
        self.seen = input.len();
        if input.len() >= limits.bytes { Err(BlockError::TooLarge(limits.bytes)) } else { Ok(None) }
    }
}

/// A name, a colon, a value. Lines end with LF or CR LF.
fn split(line: &[u8]) -> Option<(&str, &[u8])> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let colon = memchr::memchr(b':', line)?;
    let name = std::str::from_utf8(&line[..colon]).ok().filter(|name| !name.is_empty() && !name.contains([' ', '\t']))?;
    Some((name, &line[colon + 1..]))
}

fn check_line(line: &[u8]) -> Result<(), BlockError> {
    match line.first() {
        Some(b' ' | b'\t') => Err(BlockError::Folded(shown(line.trim_ascii()))),
        _ if split(line).is_none() => Err(BlockError::NoField(shown(line))),
        _ => Ok(()),
    }
}

/// The beginning of what a program wrote, for a log.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 80;
    let cut = &bytes[..bytes.len().min(LONGEST)];
    let text: String = String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if cut.len() < bytes.len() { text + "…" } else { text }
}

/// Reads the lines of a whole block.
fn read(block: &[u8]) -> Result<Reply, BlockError> {
    let mut fields = Fields::new();
    let (mut status, mut length) = (None, None);
    for line in block.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && *line != b"\r") {
        let Some((name, value)) = split(line) else { return Err(BlockError::NoField(shown(line))) };
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case("status") {
            set_once(&mut status, read_status(value)?, "Status")?;
        } else if name.eq_ignore_ascii_case("content-length") {
            set_once(&mut length, read_length(value)?, "Content-Length")?;
        } else {
            fields.push(name, value).map_err(|_| BlockError::BadField(shown(name.as_bytes())))?;
        }
    }
    for name in ["Location", "Content-Type"] {
        if fields.get_all(name).nth(1).is_some() {
            return Err(BlockError::Twice(name));
        }
    }
    let location = fields.get("location");
    if let (None, Some(path)) = (status, location.and_then(local_path)) {
        return Ok(Reply::LocalRedirect(path.to_owned()));
    }
    let status = status.unwrap_or(if location.is_some() { 302 } else { 200 });
    Ok(Reply::Document { status, fields, length })
}

fn set_once<T>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), BlockError> {
    if slot.replace(value).is_some() { Err(BlockError::Twice(name)) } else { Ok(()) }
}

/// Three digits, and a reason that nobody needs. Answers before the answer (1xx) are not a program's to give.
fn read_status(value: &[u8]) -> Result<u16, BlockError> {
    let bad = || BlockError::BadStatus(shown(value));
    let digits = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let status: u16 = match digits {
        [_, _, _] if digits.iter().all(u8::is_ascii_digit) => digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')),
        _ => return Err(bad()),
    };
    if (200..600).contains(&status) { Ok(status) } else { Err(bad()) }
}

fn read_length(value: &[u8]) -> Result<u64, BlockError> {
    let digits = std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| BlockError::BadLength(shown(value)))
}

/// A path of this server. What names another host by two slashes, or a place in a page, is for the client to follow.
fn local_path(location: &[u8]) -> Option<&str> {
    let path = std::str::from_utf8(location).ok()?;
    (path.starts_with('/') && !path.starts_with("//") && !path.contains('#')).then_some(path)
}
