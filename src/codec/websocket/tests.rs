//! What the codec must do with everything that a peer may send.

use proptest::prelude::*;

use super::close::{self, Close};
use super::deflate::{self, InflateError};
use super::frame::{Head, apply_mask, encode};
use super::handshake::{self, Refusal};
use super::utf8::Utf8;
use super::*;
use crate::codec::http::{Method, RequestHead, Version};

const LIMITS: MessageLimits = MessageLimits { message: 1 << 20, frame: 1 << 20, frames: 1000 };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(opcode: Opcode, last: bool, payload: &[u8]) -> Vec<u8> {
    encode(Head { opcode, last, compressed: false }, payload, Some(MASK)).to_vec()
}

/// Everything that a server makes of bytes that come in pieces of `step`.
fn read_in(bytes: &[u8], step: usize, deflate: bool) -> Result<Vec<Event>, Violation> {
    let mut decoder = Decoder::new(Role::Server, deflate, LIMITS.into());
    let mut events = Vec::new();
    for mut piece in bytes.chunks(step.max(1)) {
        while let Some(event) = decoder.next(&mut piece)? {
            events.push(event);
        }
        assert!(piece.is_empty(), "everything is taken");
    }
    Ok(events)
}

fn read(bytes: &[u8]) -> Result<Vec<Event>, Violation> {
    read_in(bytes, usize::MAX, false)
}

fn text(text: &str) -> Event {
    Event::Message(Kind::Text, text.as_bytes().to_vec())
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 §5.7.
    assert_eq!(&*encode(Head::whole(Opcode::Text), b"Hello", None), b"\x81\x05Hello");
    assert_eq!(&*encode(Head::whole(Opcode::Text), b"Hello", Some(MASK)), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!(&encode(Head::whole(Opcode::Binary), &[0; 256], None)[..4], [0x82, 126, 1, 0]);
    assert_eq!(&encode(Head::whole(Opcode::Binary), &vec![0; 65536], None)[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(read(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58").unwrap(), [text("Hello")]);
    // RFC 6455 §1.3.
    assert_eq!(handshake::accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    // RFC 7692 §7.2.3.1 and §7.2.3.2, and the final block of §7.2.3.4.
    assert_eq!(deflate::inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5).unwrap(), b"Hello");
    assert_eq!(deflate::inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], 5).unwrap(), b"Hello");
    assert_eq!(deflate::inflate(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], 5).unwrap(), b"Hello");
}

#[test]
fn fragments_make_a_message_and_control_frames_may_stand_between() {
    let mut bytes = frame(Opcode::Text, false, b"He");
    bytes.extend(frame(Opcode::Ping, true, b"p"));
    bytes.extend(frame(Opcode::Continuation, false, b""));
    bytes.extend(frame(Opcode::Pong, true, b""));
    bytes.extend(frame(Opcode::Continuation, true, b"llo"));
    let expected = [Event::Ping(b"p".to_vec()), Event::Pong(Vec::new()), text("Hello")];
    for step in 1..bytes.len() {
        assert_eq!(read_in(&bytes, step, false).unwrap(), expected, "{step}");
    }
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let mut unmasked = frame(Opcode::Text, true, b"x");
    unmasked[1] &= 0x7f;
    let with_first = |byte: u8| {
        let mut bytes = frame(Opcode::Text, true, b"x");
        bytes[0] = byte;
        bytes
    };
    let fragments = |second: Vec<u8>| [frame(Opcode::Text, false, b"x"), second].concat();
    for (bytes, expected) in [
        (unmasked, Violation::Mask),
        (with_first(0xc1), Violation::ReservedBit),
        (with_first(0xa1), Violation::ReservedBit),
        (with_first(0x91), Violation::ReservedBit),
        (with_first(0x83), Violation::Opcode),
        (with_first(0x8b), Violation::Opcode),
        (frame(Opcode::Ping, false, b""), Violation::Control),
        (frame(Opcode::Ping, true, &[0; 126]), Violation::Control),
        (frame(Opcode::Continuation, true, b""), Violation::Fragments),
        (fragments(frame(Opcode::Text, true, b"")), Violation::Fragments),
        (b"\x81\xfe\x00\x7d".to_vec(), Violation::Length),
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff".to_vec(), Violation::Length),
        (b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00".to_vec(), Violation::Length),
        (frame(Opcode::Close, true, b"\x03"), Violation::Close),
        (frame(Opcode::Close, true, &1005u16.to_be_bytes()), Violation::Close),
        (frame(Opcode::Close, true, b"\x03\xe8\xff"), Violation::Utf8),
        (frame(Opcode::Text, true, b"\xff"), Violation::Utf8),
        (frame(Opcode::Text, true, b"\xc3"), Violation::Utf8),
        (frame(Opcode::Binary, true, &vec![0; LIMITS.message + 1]), Violation::TooLarge),
    ] {
        let padded = [bytes, vec![0; 16]].concat();
        assert_eq!(read(&padded), Err(expected), "{:?}", &padded[..4]);
    }
    let mut client = Decoder::new(Role::Client, false, LIMITS.into());
    assert_eq!(client.next(&mut &frame(Opcode::Text, true, b"x")[..]), Err(Violation::Mask));
    assert_eq!(client.next(&mut &b"\x81\x01x"[..]), Ok(None), "nothing is read behind a violation");
}

#[test]
fn limits_hold_before_anything_is_kept() {
    let head = b"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff\0\0\0\0";
    assert_eq!(read(head), Err(Violation::TooLarge), "the length alone is enough");
    let mut many = frame(Opcode::Text, false, b"");
    for _ in 0..LIMITS.frames {
        many.extend(frame(Opcode::Continuation, false, b""));
    }
    assert_eq!(read(&many), Err(Violation::TooLarge));
    let half = frame(Opcode::Binary, false, &vec![0; LIMITS.message / 2]);
    let rest = frame(Opcode::Continuation, true, &vec![0; LIMITS.message / 2 + 1]);
    assert_eq!(read(&[half, rest].concat()), Err(Violation::TooLarge));
}

#[test]
fn text_fails_with_the_first_wrong_byte() {
    // A surrogate, cut in the middle of the frame: the second byte decides.
    let bytes = frame(Opcode::Text, false, "\u{3ba}\u{fffd}abc".as_bytes());
    assert!(read(&bytes).is_ok());
    let bytes = frame(Opcode::Text, false, b"ab\xf4\x90\x80\x80");
    let mut decoder = Decoder::new(Role::Server, false, LIMITS.into());
    assert_eq!(decoder.next(&mut &bytes[..9]), Ok(None));
    assert_eq!(decoder.next(&mut &bytes[9..10]), Err(Violation::Utf8));
}

#[test]
fn bombs_are_stopped() {
    let bomb = deflate::deflate(&vec![b'x'; 10 << 20], 15);
    assert!(bomb.len() < 20 << 10);
    assert_eq!(deflate::inflate(&bomb, 1 << 20), Err(InflateError::TooLarge));
    assert_eq!(deflate::inflate(&bomb, 10 << 20).unwrap().len(), 10 << 20);
    assert_eq!(deflate::inflate(&[0xff; 10], 100), Err(InflateError::Malformed));
    let bytes = encode(Head { opcode: Opcode::Text, last: true, compressed: true }, &bomb, Some(MASK));
    assert_eq!(read_in(&bytes, 1000, true), Err(Violation::TooLarge));
}

#[test]
fn offers_of_compression_are_answered_as_they_allow() {
    let answer = |offer: &str| deflate::accept([offer.as_bytes()].into_iter()).map(|(agreement, text)| (agreement.window, text));
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer("permessage-deflate"), Some((15, plain.to_owned())));
    assert_eq!(answer("permessage-deflate; client_max_window_bits"), Some((15, plain.to_owned())));
    let small = format!("{plain}; server_max_window_bits=10");
    assert_eq!(answer("x-other, permessage-deflate; server_max_window_bits=\"10\""), Some((10, small.clone())));
    assert_eq!(answer("permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10"), Some((10, small)));
    for void in [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
    ] {
        assert_eq!(answer(void), None, "{void}");
    }
    let ours = |answer: &str| deflate::accepted([answer.as_bytes()].into_iter()).map(|agreement| agreement.is_some());
    assert_eq!(ours(plain), Ok(true));
    assert_eq!(ours(""), Ok(false));
    assert!(ours("permessage-deflate").is_err(), "the server would keep its context");
    assert!(ours("x-other").is_err());
}

fn asking(fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new(Method::Get, "http://chat.example/x", Version::Http11).unwrap();
    let usual = [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"), ("sec-websocket-version", "13")];
    for (name, value) in usual.iter().chain(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]).chain(fields) {
        head.fields.set(name, value).unwrap();
    }
    head
}

#[test]
fn upgrades_are_recognised_and_checked() {
    assert!(handshake::is_asked(&asking(&[])));
    assert!(!handshake::is_asked(&asking(&[("upgrade", "h2c")])));
    assert!(!handshake::is_asked(&asking(&[("connection", "keep-alive")])));
    assert_eq!(handshake::check(&asking(&[])), Ok(()));
    assert_eq!(handshake::check(&asking(&[("sec-websocket-version", "8")])), Err(Refusal::Version));
    assert_eq!(handshake::check(&asking(&[("sec-websocket-key", "c2hvcnQ=")])), Err(Refusal::Key));
    assert_eq!(handshake::check(&asking(&[("sec-websocket-key", "not base64 at all!!!!!!!")])), Err(Refusal::Key));
    let head = asking(&[("sec-websocket-protocol", "a, b ,c")]);
    assert_eq!(handshake::protocols(&head.fields).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn origins_are_matched_whole() {
    let may = |origin: &str, allowed: &[&str]| {
        let allowed: Vec<String> = allowed.iter().map(|&text| text.to_owned()).collect();
        handshake::may_connect(&asking(&[("origin", origin)]), &allowed)
    };
    assert!(handshake::may_connect(&asking(&[]), &["https://a.example".to_owned()]), "no page at all");
    assert!(may("http://chat.example", &[]) && may("https://CHAT.example:443", &[]), "its own host");
    assert!(!may("http://other.example", &[]) && !may("null", &[]) && !may("http://chat.example.evil.example", &[]));
    assert!(may("https://a.example", &["https://a.example"]) && !may("http://a.example", &["https://a.example"]));
    assert!(may("https://x.a.example", &["https://*.a.example"]) && may("https://x.y.a.example", &["https://*.a.example"]));
    for bad in ["https://a.example", "https://xa.example", "https://.a.example", "http://x.a.example", "https://x.a.example.b"] {
        assert!(!may(bad, &["https://*.a.example"]), "{bad}");
    }
    assert!(may("null", &["*"]));
}

#[test]
fn reasons_are_cut_at_a_character() {
    let close = Close::new(close::NORMAL, &"\u{20ac}".repeat(50));
    assert_eq!(close.reason.len(), 123);
    assert_eq!(Close::parse(&close.payload()), Ok(close));
    assert!(Close::new(close::ABNORMAL, "").payload().is_empty());
}

proptest! {
    #[test]
    fn messages_come_back_however_they_are_cut(
        texts in prop::collection::vec(("\\PC{0,40}", 1usize..6, any::<bool>()), 1..5),
        step in 1usize..40,
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (sent, pieces, compressed) in &texts {
            let data = if *compressed { deflate::deflate(sent.as_bytes(), 15) } else { sent.as_bytes().to_vec() };
            let size = data.len().div_ceil(*pieces).max(1);
            let mut chunks: Vec<&[u8]> = data.chunks(size).collect();
            if chunks.is_empty() {
                chunks.push(&[]);
            }
            let count = chunks.len();
            for (index, chunk) in chunks.into_iter().enumerate() {
                let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
                let head = Head { opcode, last: index + 1 == count, compressed: *compressed && index == 0 };
                bytes.extend_from_slice(&encode(head, chunk, Some(MASK)));
            }
            expected.push(text(sent));
        }
        prop_assert_eq!(read_in(&bytes, step, true), Ok(expected));
    }

    #[test]
    fn where_it_is_cut_makes_no_difference(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
        prop_assert_eq!(read_in(&bytes, step, true).map_err(|_| ()), read_in(&bytes, usize::MAX, true).map_err(|_| ()));
    }

    #[test]
    fn text_is_checked_alike_in_pieces(bytes in prop::collection::vec(any::<u8>(), 0..30), step in 1usize..5) {
        let mut utf8 = Utf8::default();
        let valid = bytes.chunks(step).all(|piece| utf8.take(piece)) && utf8.end();
        prop_assert_eq!(valid, std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn compression_comes_back(data in prop::collection::vec(any::<u8>(), 0..5000), window in 9u8..16) {
        prop_assert_eq!(deflate::inflate(&deflate::deflate(&data, window), data.len()).unwrap(), data);
    }

    #[test]
    fn masks_are_undone(mut data in prop::collection::vec(any::<u8>(), 0..40), mask in any::<[u8; 4]>()) {
        let plain = data.clone();
        apply_mask(&mut data, mask);
        prop_assert!(data.iter().zip(&plain).enumerate().all(|(at, (masked, plain))| masked ^ plain == mask[at % 4]));
    }
}
