//! FastCGI 1.0 without a socket, both sides: <https://fastcgi-archives.github.io/FastCGI_Specification.html>.

mod parameters;
mod record;

#[cfg(test)]
mod tests;

pub use parameters::{MalformedPair, pairs, write_pair};
pub use record::{
    BeginRequest, EndRequest, Kind, MAX_CONTENT, MAX_RECORD, ProtocolStatus, RESPONDER, Record, RecordError, decode, write_end,
    write_record, write_unknown_type, write_with,
};
