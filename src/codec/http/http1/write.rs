//! Writing heads. Nothing that an application gives can break out of its line.

use crate::codec::http::fields::{FieldError, Fields, check_name, check_value};
use crate::codec::http::head::RequestHead;
use crate::codec::http::status;

/// Writes `HTTP/1.1 STATUS REASON` with its CRLF. The version is ours, whatever the client's (RFC 9110 §2.5).
pub fn write_status_line(code: u16, out: &mut Vec<u8>) {
    match status::line(code) {
        Some(line) => out.extend_from_slice(line.as_bytes()),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(itoa::Buffer::new().format(code.clamp(100, 999)).as_bytes());
            out.extend_from_slice(b" \r\n");
        }
    }
}

/// Writes one field line after checking it.
///
/// # Errors
/// A name that is no token or a value with control characters; nothing is written then.
pub fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    check_name(name.as_bytes())?;
    check_value(value)?;
    line(name, value, out);
    Ok(())
}

/// Writes all fields; they were checked when they were pushed.
pub fn write_fields(fields: &Fields, out: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        line(name, value, out);
    }
}

/// Writes a field with a number.
pub fn write_number_field(name: &'static str, value: u64, out: &mut Vec<u8>) {
    line(name, itoa::Buffer::new().format(value).as_bytes(), out);
}

/// Ends a head with its empty line.
pub fn end_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole response head: status line, fields, empty line. Framing fields are the caller's.
pub fn write_response_head(code: u16, fields: &Fields, out: &mut Vec<u8>) {
    write_status_line(code, out);
    write_fields(fields, out);
    end_head(out);
}

/// Writes a whole request head as a client sends it: request line, fields, empty line. `Host` and framing fields are
/// the caller's.
pub fn write_request_head(head: &RequestHead, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.version.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(&head.fields, out);
    end_head(out);
}

fn line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_plainly() {
        let mut fields = Fields::new();
        fields.push("Content-Type", "text/plain").unwrap();
        let mut out = Vec::new();
        write_response_head(200, &fields, &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n");
        out.clear();
        write_status_line(299, &mut out);
        write_number_field("content-length", 1234, &mut out);
        assert_eq!(out, b"HTTP/1.1 299 \r\ncontent-length: 1234\r\n");
    }

    #[test]
    fn injection_is_refused() {
        let mut out = Vec::new();
        assert_eq!(write_field("x", b"a\r\nb: c", &mut out), Err(FieldError::Value));
        assert_eq!(write_field("x\r\ny", b"a", &mut out), Err(FieldError::Name));
        assert!(out.is_empty());
    }
}
