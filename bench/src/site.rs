//! What every contender serves: the same paths with the same answers.

use std::sync::Arc;

use crate::load::Exchange;

/// The body of the fixed answer.
pub const FIXED: &str = "Hello, fixed answer\n";

/// Bytes of the small and of the large file.
pub const SMALL: usize = 1024;
pub const LARGE: usize = 1024 * 1024;

/// The content of a file of `length` bytes. A period that is no power of two shows a piece that came twice or in the wrong place.
pub fn content(length: usize) -> Arc<[u8]> {
    (0..length).map(|index| b'a' + (index % 23) as u8 + ((index / 4096) % 3) as u8).collect()
}

/// A scripted answer that depends on the path, another path on every connection.
pub fn scripted(connection: usize) -> Exchange {
    let path = format!("/hello/{connection}");
    Exchange::get(&path, format!("Hello, {path}").into_bytes())
}

pub fn fixed(_connection: usize) -> Exchange {
    Exchange::get("/fixed", FIXED.as_bytes())
}
