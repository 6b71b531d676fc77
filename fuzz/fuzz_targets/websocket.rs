//! Frames of a client, whole and in pieces: both must come to the same, and nothing may be larger than the limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::websocket::{Decoder, Event, Kind, MessageLimits, Role, Violation};

const LIMITS: MessageLimits = MessageLimits { message: 4096, frame: 2048, frames: 8 };

fn read(bytes: &[u8], step: usize) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::new(Role::Server, true, LIMITS.into());
    let mut events = Vec::new();
    for mut piece in bytes.chunks(step) {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
        assert!(piece.is_empty());
    }
    (events, None)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, usize::MAX);
    let pieces = read(bytes, usize::from(step).max(1));
    assert_eq!(whole, pieces);
    for event in &whole.0 {
        match event {
            Event::Message(kind, data) => {
                assert!(data.len() <= LIMITS.message);
                assert!(*kind == Kind::Binary || std::str::from_utf8(data).is_ok());
            }
            Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= 125),
            Event::Close(close) => assert!(close.reason.len() <= 123),
        }
    }
});
