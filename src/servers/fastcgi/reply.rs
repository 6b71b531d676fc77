//! Writing a response as CGI wants it (RFC 3875 §6), in STDOUT records.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::Poll;

use super::connection::Connection;
use super::inbox::Inbox;
use crate::codec::fastcgi::{Kind, write_record, write_with};
use crate::codec::http::http1::write::write_number_field;
use crate::codec::http::status;
use crate::request::{BodyStream, FileRange, Part, Response, ResponseBody};
use crate::servers::watch::Watch;

/// What is given to the output at once.
const PIECE: usize = 32 << 10;
/// What is read of a file at once.
const FILE_PIECE: u64 = 256 << 10;

pub(super) struct Reply<'a> {
    connection: &'a Connection,
    id: u16,
    inbox: &'a Inbox,
    /// The request was HEAD: a length is told and no body sent.
    head_only: bool,
    sent: Cell<u64>,
}

impl<'a> Reply<'a> {
    pub(super) fn new(connection: &'a Connection, id: u16, inbox: &'a Inbox, head_only: bool) -> Self {
        Self { connection, id, inbox, head_only, sent: Cell::new(0) }
    }

    /// Bytes of the body so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Writes a response. `watch` looks at who makes a stream.
    ///
    /// # Errors
    /// Nobody wants it any more, a file became shorter, a stream broke.
    pub(super) async fn write(&self, response: Response, watch: Option<&Watch<'_>>) -> io::Result<()> {
        let bodiless = status::is_bodiless(response.status);
        let mut head = Vec::with_capacity(128 + response.fields.block().len());
        write_head(&response, bodiless, &mut head);
        self.bytes(&head).await?;
        self.sent.set(0);
        if self.head_only || bodiless {
            return Ok(());
        }
        match response.body {
            ResponseBody::Empty | ResponseBody::Upgrade(_) => Ok(()),
            ResponseBody::Bytes(bytes) => self.bytes(&bytes).await,
            ResponseBody::File(range) => self.file(range).await,
            ResponseBody::Parts(parts) => {
                for part in parts {
                    match part {
                        Part::Bytes(bytes) => self.bytes(&bytes).await?,
                        Part::File(range) => self.file(range).await?,
                    }
                }
                Ok(())
            }
            ResponseBody::Stream(stream) | ResponseBody::Measured(stream, _) => self.stream(stream, watch).await,
        }
    }

    /// Writes a response with a small body or none, where there is room for it.
    pub(super) fn write_small(&self, response: &Response) {
        let bodiless = status::is_bodiless(response.status);
        let body: &[u8] = match &response.body {
            ResponseBody::Bytes(bytes) if !self.head_only && !bodiless => bytes,
            _ => &[],
        };
        self.connection.with_output(|out| {
            write_with(Kind::Stdout, self.id, out, |out| {
                write_head(response, bodiless, out);
                out.extend_from_slice(body);
            });
        });
        self.sent.set(body.len() as u64);
    }

    async fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.connection.room(self.inbox).await?;
            self.connection.with_output(|out| write_record(Kind::Stdout, self.id, piece, out));
            self.sent.set(self.sent.get() + piece.len() as u64);
            self.connection.wake();
        }
        Ok(())
    }

    async fn file(&self, range: FileRange) -> io::Result<()> {
        let file = Arc::new(range.file.try_clone()?);
        let (mut offset, mut left) = (range.offset, range.length);
        while left > 0 {
            let count = usize::try_from(left.min(FILE_PIECE)).unwrap_or(usize::MAX);
            let source = file.clone();
            let piece = blocking::unblock(move || {
                let mut piece = vec![0; count];
                let read = source.read_at(&mut piece, offset)?;
                piece.truncate(read);
                io::Result::Ok(piece)
            })
            .await?;
            if piece.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
            }
            offset += piece.len() as u64;
            left -= piece.len() as u64;
            self.bytes(&piece).await?;
        }
        Ok(())
    }

    async fn stream(&self, mut stream: BodyStream, watch: Option<&Watch<'_>>) -> io::Result<()> {
        loop {
            if let Some(watch) = watch {
                watch.begin();
            }
            let piece = poll_fn(|cx| {
                let polled = match watch {
                    Some(watch) => watch.poll(cx, |cx| stream.as_mut().poll_next(cx)),
                    None => stream.as_mut().poll_next(cx),
                };
                if polled.is_pending() && self.inbox.poll_aborted(cx).is_ready() {
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                polled
            })
            .await;
            match piece {
                Some(piece) => self.bytes(&piece?).await?,
                None => return Ok(()),
            }
        }
    }
}

/// `Status`, the fields, and the length where it is known. The front adds what is between it and the client.
fn write_head(response: &Response, bodiless: bool, out: &mut Vec<u8>) {
    // A `Location` without a status means 302, and HAProxy 2.6 says so even when one stands in front of it.
    let redirects = response.fields.get("location").is_some();
    if !redirects {
        write_status(response.status, out);
    }
    out.extend_from_slice(response.fields.block());
    if redirects {
        write_status(response.status, out);
    }
    out.extend_from_slice(response.prepared.as_deref().unwrap_or_default());
    if let Some(length) = response.body.length().filter(|_| !bodiless) {
        write_number_field("Content-Length", length, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(code: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Status: ");
    out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
    out.push(b' ');
    out.extend_from_slice(status::reason(code).as_bytes());
    out.extend_from_slice(b"\r\n");
}
