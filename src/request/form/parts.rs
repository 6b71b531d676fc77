//! The parts of a multipart form while they arrive: for an upload that is streamed on, and for [`super::uploads`].

use bytes::{Bytes, BytesMut};

use super::multipart::{MultipartError, MultipartEvent, MultipartParser, PartHead};
use super::{FormReadError, multipart};
use crate::request::Body;

/// What comes next of a form.
#[derive(Debug)]
pub enum FormEvent {
    /// A part starts.
    PartBegin(Box<PartHead>),
    /// Content of the current part.
    Data(Bytes),
    /// The current part is complete.
    PartEnd,
}

/// Reads a multipart form from a body, no faster than it is asked.
#[derive(Debug)]
pub struct PartReader {
    parser: MultipartParser,
    /// What arrived and is not used yet.
    input: Bytes,
    /// Whether `input` was looked at and is not enough.
    starved: bool,
}

impl PartReader {
    /// A reader for a body with this `Content-Type`; `None` when that is not `multipart/form-data`.
    ///
    /// # Errors
    /// [`MultipartError::Boundary`].
    pub fn new(content_type: &[u8]) -> Result<Option<Self>, MultipartError> {
        let boundary = multipart::boundary(content_type)?;
        Ok(boundary.map(|boundary| Self { parser: MultipartParser::new(&boundary), input: Bytes::new(), starved: false }))
    }

    /// What comes next; `None` at the end of the form, when the body has been read to its end too.
    ///
    /// # Errors
    /// [`FormReadError::Body`] and [`FormReadError::Multipart`].
    pub async fn next(&mut self, body: &Body) -> Result<Option<FormEvent>, FormReadError> {
        loop {
            if self.starved || self.input.is_empty() {
                let Some(chunk) = body.chunk().await? else {
                    return if self.parser.is_end() { Ok(None) } else { Err(MultipartError::Truncated.into()) };
                };
                self.append(chunk);
            }
            let step = self.parser.step(&self.input)?;
            let whole = self.input.clone();
            let _ = self.input.split_to(step.consumed);
            match step.event {
                MultipartEvent::PartBegin(head) => return Ok(Some(FormEvent::PartBegin(head))),
                MultipartEvent::Data(range) => return Ok(Some(FormEvent::Data(whole.slice(range)))),
                MultipartEvent::PartEnd => return Ok(Some(FormEvent::PartEnd)),
                MultipartEvent::NeedMore => self.starved = true,
                // What follows the form is read away.
                MultipartEvent::End => self.input.clear(),
            }
        }
    }

    fn append(&mut self, chunk: Bytes) {
        self.starved = false;
        if self.input.is_empty() {
            self.input = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + chunk.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&chunk);
            self.input = joined.freeze();
        }
    }
}
