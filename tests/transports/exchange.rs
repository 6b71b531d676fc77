//! One request and its answer, by whatever protocol: what a case needs of a client.

use std::io;

use crate::support::client::Reply;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub target: &'a str,
    /// Besides those of the body's length, and the host.
    pub fields: &'a [(&'a str, &'a str)],
    pub body: Announced,
}

/// What is said of the body before it comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    None,
    Length(u64),
    /// It comes in chunks, or in frames.
    Unknown,
}

/// Every request is for this host.
pub const HOST: &str = "site.test";

/// An exchange under way. Who drops it leaves.
pub trait Exchange {
    /// Sends a piece of the body; waits until it is taken.
    ///
    /// # Errors
    /// The other side wants no more of it. The answer may be there.
    fn send(&mut self, piece: &[u8]) -> io::Result<()>;

    /// Says that the body ends here.
    ///
    /// # Errors
    /// As for [`Exchange::send`].
    fn finish(&mut self) -> io::Result<()>;

    /// Waits for the head of the answer; its body is empty.
    ///
    /// # Errors
    /// There is none.
    fn head(&mut self) -> io::Result<Reply>;

    /// The next piece of the answer's body; `None` at its end.
    ///
    /// # Errors
    /// It breaks off: [`io::ErrorKind::UnexpectedEof`].
    fn piece(&mut self) -> io::Result<Option<Vec<u8>>>;
}

/// Reads the answer to the end.
pub fn read(exchange: &mut dyn Exchange) -> io::Result<Reply> {
    let mut reply = exchange.head()?;
    while let Some(piece) = exchange.piece()? {
        reply.body.extend(piece);
    }
    Ok(reply)
}
