//! Replies that stand in the configuration.

use bytes::Bytes;

use super::route::FixedReply;
use super::{Response, ResponseBody, ResponseFields};
use crate::codec::http::http1::write::{write_number_field, write_status_line};
use crate::codec::http::status;

/// A fixed reply, made once.
pub(super) struct Prepared {
    status: u16,
    fields: Bytes,
    body: Bytes,
    /// The same as HTTP/1.1 sends it; `None` when it is not [`Standing`].
    standing: Option<Standing>,
}

/// A fixed reply that can be copied to a connection as it stands.
pub struct Standing {
    /// Its status.
    pub status: u16,
    /// Its head in HTTP/1.1, but for the fields of the server and of the moment, and the empty line.
    pub head: Bytes,
    /// Its body.
    pub body: Bytes,
}

/// Larger bodies are better sent from where they are.
const MOST_STANDING: usize = 4 << 10;

impl Prepared {
    pub(super) fn new(reply: &FixedReply) -> Self {
        let mut fields = ResponseFields::default();
        // Checked with the configuration: a field that cannot be sent is refused there.
        let checked = [("Content-Type", reply.content_type.as_str())]
            .into_iter()
            .chain(reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in checked {
            let _ = fields.push(name, value);
        }
        let (status, body) = (reply.status, Bytes::copy_from_slice(reply.body.as_bytes()));
        let standing = (!status::is_bodiless(status) && body.len() <= MOST_STANDING && !fields.asks_to_close()).then(|| {
            let mut head = Vec::new();
            write_status_line(status, &mut head);
            head.extend_from_slice(fields.block());
            write_number_field("Content-Length", body.len() as u64, &mut head);
            Standing { status, head: head.into(), body: body.clone() }
        });
        Self { status, fields: Bytes::copy_from_slice(fields.block()), body, standing }
    }

    /// The reply for who copies it as it stands.
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// As any other response.
    pub(super) fn response(&self) -> Response {
        Response {
            status: self.status,
            fields: ResponseFields::default(),
            prepared: Some(self.fields.clone()),
            body: ResponseBody::Bytes(self.body.clone()),
            ..Response::default()
        }
    }
}
