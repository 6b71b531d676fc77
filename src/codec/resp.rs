//! RESP2, what Redis speaks (<https://redis.io/docs/latest/develop/reference/protocol-spec/>): commands out, values in.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// The longest bulk string, bytes; what Redis itself allows by default.
const MAX_BULK: i64 = 512 << 20;
/// The most elements of an array.
const MAX_ELEMENTS: i64 = 1 << 20;
/// How deep arrays may be nested.
const MAX_DEPTH: usize = 16;
/// The longest line of a number, a status or an error.
const MAX_LINE: usize = 64 << 10;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A status such as `OK`.
    Simple(Bytes),
    /// An error, in the server's words.
    Error(Bytes),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Bytes),
    /// None.
    Nil,
    /// Several.
    Array(Vec<Value>),
}

impl Value {
    /// The bytes of a status or a string.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Simple(bytes) | Self::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a status or a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A number, or a text that is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            other => other.text()?.parse().ok(),
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn elements(&self) -> Option<&[Value]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

/// What came is not RESP2, or is beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RespError;

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what came is not the protocol of Redis")
    }
}

impl std::error::Error for RespError {}

/// Takes values off what arrives. It remembers how far it has looked, so that a long value that comes in many pieces is looked at once.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the value at the beginning that are known to be there.
    seen: usize,
    /// Elements that still lack, for each array that is open.
    open: Vec<i64>,
}

impl Decoder {
    /// Takes the next value off `input`, to which nothing but appending may be done between two calls. `None`: it is not whole yet.
    ///
    /// # Errors
    /// [`RespError`]; nothing more can be read then.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Value>, RespError> {
        loop {
            match begin(&input[self.seen..])? {
                None => return Ok(None),
                Some(Begun::Array(length, count)) if count > 0 => {
                    if self.open.len() == MAX_DEPTH {
                        return Err(RespError);
                    }
                    self.seen += length;
                    self.open.push(count);
                    continue;
                }
                Some(Begun::Array(length, _) | Begun::Whole(length)) => self.seen += length,
            }
            while let Some(left) = self.open.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                self.open.pop();
            }
            if self.open.is_empty() {
                let mut whole = input.split_to(std::mem::take(&mut self.seen)).freeze();
                return value(&mut whole).map(Some);
            }
        }
    }
}

fn line(input: &[u8]) -> Result<Option<&[u8]>, RespError> {
    match memchr::memchr(b'\n', input) {
        Some(end) if end > 0 && input[end - 1] == b'\r' => Ok(Some(&input[..end - 1])),
        Some(_) => Err(RespError),
        None if input.len() > MAX_LINE => Err(RespError),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, RespError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(RespError)
}

/// What a value begins with, and how many bytes that is.
enum Begun {
    /// All of it.
    Whole(usize),
    /// The head of an array of so many elements.
    Array(usize, i64),
}

fn begin(input: &[u8]) -> Result<Option<Begun>, RespError> {
    let Some((kind, _)) = input.split_first() else { return Ok(None) };
    let Some(head) = line(input)? else { return Ok(None) };
    let after = head.len() + 2;
    let whole = |length| Ok(Some(Begun::Whole(length)));
    match kind {
        b'+' | b'-' => whole(after),
        b':' => number(&head[1..]).and_then(|_| whole(after)),
        b'$' => match number(&head[1..])? {
            -1 => whole(after),
            size @ 0..=MAX_BULK => {
                let end = after + size as usize + 2;
                match input.get(end - 2..end) {
                    None => Ok(None),
                    Some(b"\r\n") => whole(end),
                    Some(_) => Err(RespError),
                }
            }
            _ => Err(RespError),
        },
        b'*' => match number(&head[1..])? {
            -1 => whole(after),
            count @ 0..=MAX_ELEMENTS => Ok(Some(Begun::Array(after, count))),
            _ => Err(RespError),
        },
        _ => Err(RespError),
    }
}

/// Makes the value at the beginning of what is known to be whole.
fn value(input: &mut Bytes) -> Result<Value, RespError> {
    let kind = *input.first().ok_or(RespError)?;
    let size = line(input)?.ok_or(RespError)?.len();
    let head = input.split_to(size).slice(1..);
    input.advance(2);
    Ok(match kind {
        b'+' => Value::Simple(head),
        b'-' => Value::Error(head),
        b':' => Value::Integer(number(&head)?),
        b'$' => match usize::try_from(number(&head)?) {
            Err(_) => Value::Nil,
            Ok(size) => {
                let bulk = input.split_to(size);
                input.advance(2);
                Value::Bulk(bulk)
            }
        },
        b'*' => match number(&head)? {
            -1 => Value::Nil,
            count => Value::Array((0..count).map(|_| value(input)).collect::<Result<_, _>>()?),
        },
        _ => return Err(RespError),
    })
}

/// Appends a command: its name and its arguments.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(parts.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for part in parts {
        out.push(b'$');
        out.extend_from_slice(digits.format(part.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn values_of_every_kind_in_any_pieces() {
        let bytes = b"+OK\r\n-ERR no\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:1\r\n*0\r\n";
        let wanted = [
            Value::Simple(text("OK")),
            Value::Error(text("ERR no")),
            Value::Integer(-7),
            Value::Bulk(text("a\r\nbc")),
            Value::Nil,
            Value::Nil,
            Value::Array(vec![Value::Bulk(text("x")), Value::Array(vec![Value::Integer(1)])]),
            Value::Array(vec![]),
        ];
        for size in 1..bytes.len() {
            let (mut decoder, mut input, mut found) = (Decoder::default(), BytesMut::new(), Vec::new());
            for piece in bytes.chunks(size) {
                input.extend_from_slice(piece);
                while let Some(value) = decoder.take(&mut input).unwrap() {
                    found.push(value);
                }
            }
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn arrays_have_a_depth() {
        let nested = |depth| BytesMut::from(&[b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat()[..]);
        assert!(Decoder::default().take(&mut nested(MAX_DEPTH)).unwrap().is_some());
        assert_eq!(Decoder::default().take(&mut nested(MAX_DEPTH + 1)), Err(RespError));
    }

    #[test]
    fn a_long_array_in_small_pieces_is_looked_at_once() {
        let mut bytes = b"*200000\r\n".to_vec();
        (0..200_000).for_each(|_| bytes.extend_from_slice(b"$1\r\nx\r\n"));
        let (mut decoder, mut input) = (Decoder::default(), BytesMut::new());
        let mut found = None;
        for piece in bytes.chunks(100) {
            assert_eq!(found, None);
            let seen = decoder.seen;
            input.extend_from_slice(piece);
            found = decoder.take(&mut input).unwrap();
            assert!(found.is_some() || (decoder.seen > seen && input.len() - decoder.seen < 7), "all but a beginning is seen");
        }
        assert_eq!(found.unwrap().elements().map(<[Value]>::len), Some(200_000));
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"GET", b"a\r\n", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n$0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(prop::sample::select(b"*$+-:0123456789\r\nab".to_vec()), 0..60)) {
            let (mut decoder, mut input) = (Decoder::default(), BytesMut::from(&bytes[..]));
            let mut before = usize::MAX;
            while let Ok(Some(_)) = decoder.take(&mut input) {
                prop_assert!(input.len() < before);
                before = input.len();
            }
        }
    }
}
