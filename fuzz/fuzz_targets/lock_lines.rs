//! The line protocol of lock servers, both sides, in two pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::lock::{Line, Lines, MAX_LINE, parse_answer, parse_request, write_request};

fuzz_target!(|bytes: &[u8]| {
    let mut lines = Lines::default();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for piece in [first, second] {
        lines.push(piece);
        while let Some(line) = lines.pull() {
            let Line::Text(line) = line else { continue };
            assert!(line.len() <= MAX_LINE && !line.contains(&b'\n'));
            let _ = parse_answer(&line);
            if let Ok(request) = parse_request(&line, true) {
                let mut written = Vec::new();
                write_request(&request, &mut written);
                written.pop();
                assert_eq!(parse_request(&written, true), Ok(request));
            }
        }
    }
});
