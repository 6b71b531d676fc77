//! Values as bytes that compare as the values do: the keys of indexes, and of sorting.
//!
//! Every form says itself where it ends, so that keys of several values are put one behind the other. The bytes of a value that is sorted
//! downwards are inverted.

use super::value::{Document, Value};

/// Stands for a list without elements, and for a path that leads nowhere: before everything.
pub const NOTHING: u8 = 0x10;
/// Greater than the first byte of every value, inverted or not.
pub const AFTER: u8 = 0xFF;

/// Upwards or downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// The least first.
    Up,
    /// The greatest first.
    Down,
}

/// The bytes of a value.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    write(value, &mut key);
    key
}

/// Puts the bytes of one part of a key behind those that are there.
pub fn append(key: &mut Vec<u8>, part: &[u8], direction: Direction) {
    match direction {
        Direction::Up => key.extend_from_slice(part),
        Direction::Down => key.extend(part.iter().map(|byte| !byte)),
    }
}

fn write(value: &Value, key: &mut Vec<u8>) {
    key.push(value.rank());
    match value {
        Value::Null => {}
        Value::Bool(value) => key.push(u8::from(*value)),
        Value::Int(number) => write_int(*number, key),
        Value::Double(number) => write_double(*number, key),
        Value::Text(text) => write_text(text, key),
        Value::Binary(bytes) => {
            // A document is far smaller than 4 GiB.
            key.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            key.extend_from_slice(bytes);
        }
        Value::Date(millis) => key.extend_from_slice(&(*millis as u64 ^ 1 << 63).to_be_bytes()),
        Value::Array(items) => {
            items.iter().for_each(|item| write(item, key));
            key.push(0);
        }
        Value::Document(document) => write_document(document, key),
    }
}

fn write_document(document: &Document, key: &mut Vec<u8>) {
    for (name, value) in document.iter() {
        key.push(value.rank());
        write_text(name, key);
        write(value, key);
    }
    key.push(0);
}

/// A double in order, then by how much the number is greater than it.
fn write_number(double: f64, more: u16, key: &mut Vec<u8>) {
    let bits = if double == 0.0 { 0 } else { double.to_bits() };
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    key.extend_from_slice(&ordered.to_be_bytes());
    key.extend_from_slice(&more.to_be_bytes());
}

fn write_double(number: f64, key: &mut Vec<u8>) {
    if number.is_nan() {
        // Before minus infinity, whose bytes begin with 0x00 0x0F.
        key.extend_from_slice(&[0; 10]);
    } else {
        write_number(number, 0, key);
    }
}

fn write_int(number: i64, key: &mut Vec<u8>) {
    let mut below = number as f64;
    if below as i128 > i128::from(number) {
        below = below.next_down();
    }
    // Doubles of this size are at most 1024 apart.
    write_number(below, (i128::from(number) - below as i128) as u16, key);
}

fn write_text(text: &str, key: &mut Vec<u8>) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xFF);
        }
    }
    key.extend_from_slice(&[0, 0]);
}
