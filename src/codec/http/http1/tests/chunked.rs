use proptest::prelude::*;

use crate::codec::http::Fields;
use crate::codec::http::http1::chunked::{CHUNK_END, LAST_CHUNK, chunk_header, last_chunk};
use crate::codec::http::http1::{ChunkError, ChunkEvent, ChunkedDecoder};

/// What a body decoded to.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    trailers: Vec<(String, String)>,
    /// Bytes used when the end was reached.
    end: Option<usize>,
}

/// Decodes pieces as a connection would bring them.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Decoded, ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let mut decoded = Decoded::default();
    let mut used = 0;
    for mut piece in pieces {
        loop {
            let step = decoder.decode(piece)?;
            used += step.consumed;
            match step.event {
                ChunkEvent::Data(range) => decoded.data.extend_from_slice(&piece[range]),
                ChunkEvent::Trailers(fields) => {
                    decoded.trailers =
                        fields.iter().map(|(name, value)| (name.into(), String::from_utf8_lossy(value).into_owned())).collect();
                }
                ChunkEvent::NeedMore => {
                    assert_eq!(step.consumed, piece.len());
                    break;
                }
                ChunkEvent::End => {
                    decoded.end = Some(used);
                    return Ok(decoded);
                }
            }
            piece = &piece[step.consumed..];
        }
    }
    Ok(decoded)
}

#[test]
fn a_body_with_everything_is_decoded() {
    let text = b"4\r\nWiki\r\n6;name=\"v;,\t\"\r\npedia \r\nE ;x\r\nin \r\n\r\nchunks.\r\n00\r\nX-Sum: 1\r\nContent-Length: 5\r\nhost: evil\r\n\r\nGET /";
    let decoded = decode([&text[..]]).unwrap();
    assert_eq!(decoded.data, b"Wikipedia in \r\n\r\nchunks.");
    assert_eq!(decoded.trailers, [("x-sum".into(), "1".into())]);
    assert_eq!(decoded.end, Some(text.len() - 5));
}

#[test]
fn what_is_not_over_is_not_ended() {
    for text in ["", "4", "4\r", "4\r\n", "4\r\nWi", "4\r\nWiki", "4\r\nWiki\r\n", "0\r\n", "0\r\n\r", "0\r\nA: b\r\n"] {
        assert_eq!(decode([text.as_bytes()]).unwrap().end, None, "{text:?}");
    }
}

#[test]
fn malformed_bodies_are_refused() {
    let long_extension = format!("1;{}\r\n", "x".repeat(20_000));
    let many_extensions = "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n".repeat(1000);
    let long_trailer = format!("0\r\nX: {}\r\n", "x".repeat(9000));
    let many_trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(65));
    for (text, error) in [
        ("\r\n", ChunkError::Size),
        ("x\r\n", ChunkError::Size),
        ("-1\r\n", ChunkError::Size),
        ("+1\r\n", ChunkError::Size),
        ("0x1\r\n", ChunkError::Size),
        (" 1\r\n", ChunkError::Size),
        (";a\r\n", ChunkError::Size),
        ("1_0\r\n", ChunkError::Size),
        ("11111111111111111\r\n", ChunkError::Size),
        ("00000000000000001\r\n", ChunkError::Size),
        ("1\n", ChunkError::LineEnd),
        ("1\rx", ChunkError::LineEnd),
        ("1 \r\n", ChunkError::Extension),
        ("1 x\r\n", ChunkError::Extension),
        ("1;a\n", ChunkError::Extension),
        ("1;a\0\r\n", ChunkError::Extension),
        ("1\r\nab\r\n", ChunkError::LineEnd),
        ("1\r\na\n", ChunkError::LineEnd),
        ("1\r\na\rb", ChunkError::LineEnd),
        ("0\r\n\n", ChunkError::LineEnd),
        ("0\r\nA: b\n", ChunkError::LineEnd),
        ("0\r\nnonsense\r\n\r\n", ChunkError::Trailer),
        ("0\r\nA : b\r\n\r\n", ChunkError::Trailer),
        ("0\r\nA: b\r\n c\r\n\r\n", ChunkError::Trailer),
        (&long_extension, ChunkError::ExtensionsTooLarge),
        (&many_extensions, ChunkError::ExtensionsTooLarge),
        (&long_trailer, ChunkError::TrailerTooLarge),
        (&many_trailers, ChunkError::TrailerTooLarge),
    ] {
        assert_eq!(decode([text.as_bytes()]).err(), Some(error), "{:?}", &text[..text.len().min(40)]);
        assert_eq!(decode(text.as_bytes().chunks(1)).err(), Some(error), "{:?} byte by byte", &text[..text.len().min(40)]);
    }
}

#[test]
fn a_chunk_is_announced_by_its_whole_size_line() {
    let mut decoder = ChunkedDecoder::new();
    for (piece, announced) in [("f", 0), ("fffffffffffffff", 0), (";a\r", 0), ("\n", u64::MAX), ("abc", u64::MAX - 3)] {
        decoder.decode(piece.as_bytes()).unwrap();
        assert_eq!(decoder.announced(), announced, "{piece:?}");
    }
    let mut decoder = ChunkedDecoder::new();
    decoder.decode(b"3\r\nabc").unwrap();
    assert_eq!(decoder.announced(), 0);
}

#[test]
fn trailers_that_change_the_message_are_not_written() {
    let mut trailers = Fields::new();
    trailers.push("x-sum", "1").unwrap();
    let mut out = Vec::new();
    last_chunk(&trailers, &mut out).unwrap();
    assert_eq!(out, b"0\r\nx-sum: 1\r\n\r\n");
    trailers.push("transfer-encoding", "chunked").unwrap();
    out.clear();
    assert!(last_chunk(&trailers, &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn sizes_are_written_in_hexadecimal() {
    for (length, line) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0x00ab_cdef, "abcdef\r\n"), (usize::MAX, "ffffffffffffffff\r\n")] {
        let mut out = Vec::new();
        chunk_header(length, &mut out);
        assert_eq!(out, line.as_bytes());
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), cut in 1usize..50) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            chunk_header(chunk.len(), &mut bytes);
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(CHUNK_END);
        }
        bytes.extend_from_slice(LAST_CHUNK);
        let expected = Decoded { data: chunks.concat(), trailers: vec![], end: Some(bytes.len()) };
        prop_assert_eq!(decode([&bytes[..]]), Ok(Decoded { data: chunks.concat(), ..Decoded { end: Some(bytes.len()), ..Default::default() } }));
        prop_assert_eq!(decode(bytes.chunks(cut)), Ok(expected));
    }

    #[test]
    fn any_bytes_split_anywhere_give_one_verdict(
        bytes in prop_oneof![
            prop::collection::vec(prop_oneof![Just("1"), Just("0"), Just("a"), Just("\r\n"), Just("\r"), Just("\n"), Just(";"), Just(" "), Just("X: y")], 0..24)
                .prop_map(|pieces| pieces.concat().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..64),
        ],
        cut in 1usize..10,
    ) {
        prop_assert_eq!(decode(bytes.chunks(cut)), decode([&bytes[..]]));
    }
}
