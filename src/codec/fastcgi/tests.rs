use super::*;
use proptest::prelude::*;

/// The records of a stream that comes in pieces.
fn records(pieces: &[&[u8]]) -> Result<Vec<(Kind, u16, Vec<u8>)>, RecordError> {
    let (mut input, mut all) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(record) = decode(&input)? {
            all.push((record.kind, record.request, record.content.to_vec()));
            let consumed = record.consumed;
            input.drain(..consumed);
        }
    }
    Ok(all)
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let mut out = Vec::new();
    BeginRequest { role: RESPONDER, keep: true }.write(1, &mut out);
    EndRequest { app_status: 938, protocol: ProtocolStatus::Complete }.write(1, &mut out);
    write_record(Kind::Stdout, 2, b"abc", &mut out);
    write_end(Kind::Stdin, 0x102, &mut out);
    write_unknown_type(Kind::Other(99), &mut out);
    let expected: [&[u8]; 5] = [
        &[1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0],
        &[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 3, 170, 0, 0, 0, 0],
        &[1, 6, 0, 2, 0, 3, 5, 0, b'a', b'b', b'c', 0, 0, 0, 0, 0],
        &[1, 5, 1, 2, 0, 0, 0, 0],
        &[1, 11, 0, 0, 0, 8, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn another_version_is_refused_at_its_first_byte() {
    assert_eq!(decode(b"G"), Err(RecordError::Version(b'G')));
    assert_eq!(decode(&[]), Ok(None));
    assert_eq!(decode(&[1, 1]), Ok(None));
}

#[test]
fn fixed_contents_have_their_length() {
    assert_eq!(BeginRequest::read(&[0, 1, 0]), Err(RecordError::Length(Kind::BeginRequest)));
    assert_eq!(EndRequest::read(&[0; 9]), Err(RecordError::Length(Kind::EndRequest)));
    assert_eq!(BeginRequest::read(&[0, 3, 0xfe, 0, 0, 0, 0, 0]), Ok(BeginRequest { role: 3, keep: false }));
}

#[test]
fn a_pair_longer_than_its_stream_is_an_error_and_the_last() {
    for stream in [&[1][..], &[1, 0], &[0x80, 0, 0], &[0xff, 0xff, 0xff, 0xff, 1, b'a'], &[1, 2, b'a', b'b']] {
        assert_eq!(pairs(stream).collect::<Vec<_>>(), [Err(MalformedPair)], "{stream:?}");
    }
    assert_eq!(pairs(&[]).next(), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_split(
        contents in prop::collection::vec((1u8..12, any::<u16>(), prop::collection::vec(any::<u8>(), 1..300)), 1..8),
        at in any::<prop::sample::Index>(),
    ) {
        let mut out = Vec::new();
        for (kind, request, content) in &contents {
            write_record((*kind).into(), *request, content, &mut out);
        }
        let (first, second) = out.split_at(at.index(out.len()));
        let expected: Vec<_> = contents.into_iter().map(|(kind, request, content)| (kind.into(), request, content)).collect();
        prop_assert_eq!(records(&[first, second]), Ok(expected.clone()));
        let bytes: Vec<&[u8]> = out.chunks(1).collect();
        prop_assert_eq!(records(&bytes), Ok(expected));
    }

    #[test]
    fn a_long_content_is_the_same_in_several_records(length in MAX_CONTENT - 20..3 * MAX_CONTENT) {
        let content: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let mut out = Vec::new();
        write_record(Kind::Stdout, 7, &content, &mut out);
        let read: Vec<u8> = records(&[&out]).unwrap().into_iter().flat_map(|(_, _, content)| content).collect();
        prop_assert!(read == content);
    }

    #[test]
    fn pairs_are_read_as_they_were_written(
        written in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 0..200)), 0..6),
    ) {
        let mut stream = Vec::new();
        for (name, value) in &written {
            write_pair(name, value, &mut stream);
        }
        let read: Vec<_> = pairs(&stream).map(|pair| pair.map(|(name, value)| (name.to_vec(), value.to_vec()))).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = records(&[&bytes]);
        let _ = pairs(&bytes).count();
    }
}
