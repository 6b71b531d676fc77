//! RTEP as a peer sends it: pieces do not matter, and what was read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::rtep::{Input, Lines, Packet, event_line, parse, publication, request_line};

fn inputs(bytes: &[u8], piece: usize) -> Vec<Input> {
    let mut lines = Lines::new(4096);
    let mut inputs = Vec::new();
    for piece in bytes.chunks(piece) {
        lines.push(piece);
        inputs.extend(std::iter::from_fn(|| lines.pull()));
    }
    inputs
}

fuzz_target!(|bytes: &[u8]| {
    let whole = inputs(bytes, bytes.len().max(1));
    assert_eq!(inputs(bytes, 1), whole);
    for input in whole {
        let Input::Packet(Packet::Request { op, fields, .. }) = input else { continue };
        let line = request_line(1, &op, &fields);
        assert!(matches!(parse(&line[..line.len() - 1]), Ok(Packet::Request { op: again, .. }) if again == op));
        if let Some((name, data)) = fields.get("event").and_then(|event| event.as_object()).and_then(publication) {
            let line = event_line(name, &data, 1.0, 2.0);
            assert!(matches!(parse(&line[..line.len() - 1]), Ok(Packet::Event(_))));
        }
    }
    let line = event_line("e", bytes, 1.0, 2.0);
    assert!(matches!(parse(&line[..line.len() - 1]), Ok(Packet::Event(_))));
});
