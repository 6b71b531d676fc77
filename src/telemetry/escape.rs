//! Foreign bytes in log lines: nothing a client sends may end a line, forge another or reach a terminal as a control sequence.

/// Appends `text` with quotes, backslashes and control bytes as `\xHH`, as nginx writes them. For text and combined lines.
pub fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && byte != 0x7F && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[plain..at]);
        hex(out, b"\\x", byte);
        plain = at + 1;
    }
    out.extend_from_slice(&text[plain..]);
}

/// Appends `text` for people: control bytes as `\xHH`, newlines as a line break followed by an indent, so that a backtrace stays
/// readable and no continuation can be taken for a line of its own.
pub fn readable(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'\n' => out.extend_from_slice(b"\n    "),
            b'\t' => out.push(byte),
            0..=0x1F | 0x7F => hex(out, b"\\x", byte),
            _ => out.push(byte),
        }
    }
}

/// Appends `text` as a JSON string with its quotes (RFC 8259, section 7). Bytes that are no UTF-8 become U+FFFD.
pub fn json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..=0x1F | 0x7F => hex(out, b"\\u00", byte),
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    out.push(b'"');
}

fn hex(out: &mut Vec<u8>, prefix: &[u8], byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(prefix);
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(escape: fn(&mut Vec<u8>, &[u8]), text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn control_bytes_and_quotes_cannot_forge_a_field() {
        assert_eq!(with(quoted, b"a\" 200\r\n\x1b[31m\\"), "a\\x22 200\\x0D\\x0A\\x1B[31m\\x5C");
        assert_eq!(with(readable, b"first\nsecond\x1b"), "first\n    second\\x1B");
    }

    proptest! {
        #[test]
        fn json_reads_back(text in ".*") {
            let read: String = serde_json::from_str(&with(json, text.as_bytes())).expect("JSON");
            prop_assert_eq!(read, text);
        }

        #[test]
        fn json_of_any_bytes_is_json_on_one_line(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let line = with(json, &bytes);
            prop_assert!(serde_json::from_str::<String>(&line).is_ok() && !line.contains('\n'));
        }
    }
}
