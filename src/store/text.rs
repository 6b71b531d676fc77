//! The stored form: JSON in which what JSON lacks is an object of one name that begins with `$`, as in MongoDB's extended JSON
//! (<https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/>). No document has such names of its own, so that nothing is mistaken.
//!
//! | value | text |
//! |---|---|
//! | date | `{"$date":1700000000000}`, milliseconds |
//! | bytes | `{"$binary":"…"}`, base64 |
//! | numbers that JSON lacks | `{"$number":"NaN"}`, `"Infinity"`, `"-Infinity"` |
//! | whole numbers | without a point, `1`; other numbers with one, `1.0` |

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::value::{Document, Value};

/// The text of a value.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut text = String::with_capacity(value.size());
    write_value(value, &mut text);
    text
}

/// The text of a document.
#[must_use]
pub fn write_document(document: &Document) -> String {
    let mut text = String::with_capacity(document.size());
    write_fields(document, &mut text);
    text
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(number) => out.push_str(itoa::Buffer::new().format(*number)),
        Value::Double(number) => write_double(*number, out),
        Value::Text(text) => write_text(text, out),
        Value::Binary(bytes) => {
            out.push_str("{\"$binary\":\"");
            STANDARD.encode_string(bytes, out);
            out.push_str("\"}");
        }
        Value::Date(millis) => {
            out.push_str("{\"$date\":");
            out.push_str(itoa::Buffer::new().format(*millis));
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Document(document) => write_fields(document, out),
    }
}

fn write_fields(document: &Document, out: &mut String) {
    out.push('{');
    for (index, (name, value)) in document.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(name, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

fn write_double(number: f64, out: &mut String) {
    if number.is_finite() {
        // The shortest text that reads back the same, always with a point or an exponent.
        // Writing to memory cannot fail.
        let _ = write!(out, "{number:?}");
    } else {
        let name = if number.is_nan() {
            "NaN"
        } else if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        out.push_str("{\"$number\":\"");
        out.push_str(name);
        out.push_str("\"}");
    }
}

fn write_text(text: &str, out: &mut String) {
    // Writing a text to memory cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Reads a value.
///
/// # Errors
/// What is wrong with the text.
pub fn read(text: &str) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Build.deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Reads a document.
///
/// # Errors
/// What is wrong with the text.
pub fn read_document(text: &str) -> Result<Document, String> {
    match read(text)? {
        Value::Document(document) => Ok(document),
        other => Err(format!("a {} where a document was expected", other.kind())),
    }
}

struct Build;

impl<'de> DeserializeSeed<'de> for Build {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Double(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Build)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some(name) = access.next_key::<String>()? {
            fields.push((name, access.next_value_seed(Build)?));
        }
        match fields.as_slice() {
            [(name, value)] if name.starts_with('$') => tagged(name, value).ok_or_else(|| A::Error::custom(format!("{name} is no value"))),
            _ => Ok(Value::Document(fields.into_iter().collect())),
        }
    }
}

fn tagged(name: &str, value: &Value) -> Option<Value> {
    match (name, value) {
        ("$date", Value::Int(millis)) => Some(Value::Date(*millis)),
        ("$binary", Value::Text(text)) => STANDARD.decode(text).ok().map(Value::Binary),
        ("$number", Value::Text(text)) => match text.as_str() {
            "NaN" => Some(Value::Double(f64::NAN)),
            "Infinity" => Some(Value::Double(f64::INFINITY)),
            "-Infinity" => Some(Value::Double(f64::NEG_INFINITY)),
            _ => None,
        },
        _ => None,
    }
}
