//! The response to a request for a file: whole, in ranges, or not at all.

use std::fs::File;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::facts::Facts;
use crate::codec::http::conditional::{Verdict, evaluate, range_applies};
use crate::codec::http::range::{ByteRanges, Requested, content_range, parse, unsatisfied_range};
use crate::codec::http::{FieldError, Fields, Method, RequestHead};
use crate::request::{FileRange, Part, Response, ResponseBody, ResponseFields};

/// Where the bytes are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory, all of it.
    Memory(Bytes),
    /// In a file, from its start.
    Disk(Rc<File>),
}

impl Content {
    fn part(&self, range: Range<u64>) -> Part {
        match self {
            // What is in memory is small, so its offsets fit.
            Self::Memory(bytes) => Part::Bytes(bytes.slice(range.start as usize..range.end as usize)),
            Self::Disk(file) => Part::File(FileRange { file: file.clone(), offset: range.start, length: range.end - range.start }),
        }
    }

    /// A part of it as the body of a response.
    pub fn body(&self, range: Range<u64>) -> ResponseBody {
        match self.part(range) {
            Part::Bytes(bytes) => ResponseBody::Bytes(bytes),
            Part::File(range) => ResponseBody::File(range),
        }
    }
}

/// Answers a GET or HEAD request with a file.
///
/// # Errors
/// A field that cannot be sent; the configuration is checked against that at the start.
pub fn respond(head: &RequestHead, facts: &Facts, content: &Content) -> Result<Response, FieldError> {
    let whole = 0..facts.size;
    if !is_special(&head.fields) {
        return Ok(prepared(200, facts.fields(), content.body(whole)));
    }
    let validators = facts.validators();
    match evaluate(&head.method, &head.fields, &validators) {
        Verdict::Proceed => {}
        Verdict::NotModified => return Ok(prepared(304, facts.common_fields(), ResponseBody::Empty)),
        Verdict::Failed => return Ok(Response::error(412, "the file is not in the state that the request expects")),
    }
    // Only GET has ranges (RFC 9110 §14.2).
    let asked = head.fields.get("range").filter(|_| head.method == Method::Get && range_applies(&head.fields, &validators));
    let ranges = match asked.map(|value| parse(value, facts.size)) {
        None | Some(Requested::Whole) => return Ok(prepared(200, facts.fields(), content.body(whole))),
        Some(Requested::Unsatisfiable) => {
            let mut response = Response::error(416, "the file is shorter than that");
            response.fields.push("Content-Range", unsatisfied_range(facts.size))?;
            return Ok(response);
        }
        Some(Requested::Ranges(ranges)) => ranges,
    };
    let mut fields = ResponseFields::with_capacity(128);
    if let [range] = &ranges[..] {
        fields.push("Content-Range", content_range(range, facts.size))?;
        return Ok(Response { fields, ..prepared(206, facts.fields(), content.body(range.clone())) });
    }
    let framed = ByteRanges::new(&ranges, facts.size, &facts.content_type, &boundary());
    fields.push("Content-Type", &framed.content_type)?;
    let pieces = framed.parts.into_iter().flat_map(|(front, range)| [Part::Bytes(front.into()), content.part(range)]);
    let parts = pieces.chain([Part::Bytes(framed.closing.into())]).collect();
    Ok(Response { fields, ..prepared(206, facts.common_fields(), ResponseBody::Parts(parts)) })
}

/// A file in the place of a response's body: with ranges and conditions where its status is 200, and with its own fields, as far as the file does not say
/// the same better. An error that takes the file's place is without them.
///
/// # Errors
/// A field that cannot be sent.
pub fn in_place_of_body(response: &Response, head: &RequestHead, facts: &Facts, content: &Content) -> Result<Response, FieldError> {
    let mut answer = match response.status {
        200 => respond(head, facts, content)?,
        status => prepared(status, facts.fields(), content.body(0..facts.size)),
    };
    if answer.status >= 400 && answer.status != response.status {
        return Ok(answer);
    }
    let mut fields = ResponseFields::with_capacity(answer.fields.block().len() + response.fields.block().len());
    for (name, value) in answer.fields.iter() {
        fields.push(name, value)?;
    }
    // The type is told with the file, and of a file that has not changed not at all.
    for (name, value) in response.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"content-type")) {
        let is_told = answer.all_fields().any(|(told, _)| told.eq_ignore_ascii_case(name));
        if !is_told {
            fields.push(name, value)?;
        }
    }
    if response.fields.asks_to_close() {
        fields.push("Connection", "close")?;
    }
    answer.fields = fields;
    Ok(answer)
}

fn prepared(status: u16, lines: Bytes, body: ResponseBody) -> Response {
    Response { status, prepared: Some(lines), body, ..Response::default() }
}

/// Whether a request has conditions or ranges. Most have none.
fn is_special(fields: &Fields) -> bool {
    fields.names().any(|name| name.starts_with(b"if-") || name == b"range")
}

/// A boundary that no file contains, unless by a chance of one in 2¹²⁸.
fn boundary() -> String {
    let mut bytes = [0; 16];
    // Without random bytes the boundary is a fixed one: a reader could be misled by a file made for it, nothing worse.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_ne_bytes(bytes))
}
