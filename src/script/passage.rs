//! The way of a request into the VM: a buffer.
//!
//! A string costs native code a protected call to make, and every argument a good deal more than a few bytes in a buffer. So number, method and path
//! are put there, and the function is called with nothing. It takes them before anything else can run. What does not fit goes as arguments.

use mlua::{Buffer, Lua};

use crate::codec::http::Method;

/// Room for a path.
const ROOM: usize = 8 << 10;
/// Where the path begins, behind the request's number (a double), the method's place (a byte at 8) and the path's length (4 bytes at 12).
const PATH: usize = 16;

/// The names of methods that have a place, from 1.
pub(super) const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The native end of the buffer.
pub(super) struct Passage(Buffer);

fn place(method: &Method) -> Option<u8> {
    Some(match method {
        Method::Get => 1,
        Method::Head => 2,
        Method::Post => 3,
        Method::Put => 4,
        Method::Delete => 5,
        Method::Connect => 6,
        Method::Options => 7,
        Method::Trace => 8,
        Method::Patch => 9,
        Method::Other(_) => return None,
    })
}

impl Passage {
    /// Makes the buffer; the second is the VM's end.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn new(lua: &Lua) -> mlua::Result<(Passage, Buffer)> {
        let buffer = lua.create_buffer_with_capacity(PATH + ROOM)?;
        Ok((Passage(buffer.clone()), buffer))
    }

    /// Puts a request where the VM looks for it; the caller runs the function at once. With what is given instead, method and path, the function is
    /// called when they do not fit; the number stands in the buffer in any case.
    pub(super) fn put<'a>(&self, number: f64, method: &'a Method, path: &'a str) -> Result<(), (&'a str, &'a str)> {
        let place = place(method).filter(|_| path.len() <= ROOM);
        let mut head = [0; PATH];
        head[..8].copy_from_slice(&number.to_le_bytes());
        head[8] = place.unwrap_or_default();
        head[12..].copy_from_slice(&(path.len() as u32).to_le_bytes());
        self.0.write_bytes(0, &head);
        if place.is_none() {
            return Err((method.as_str(), path));
        }
        self.0.write_bytes(PATH, path.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_with_a_place_stands_there() {
        for (index, name) in METHODS.iter().enumerate() {
            let method = Method::from_token(name);
            assert_eq!(place(&method).map(usize::from), Some(index + 1), "{name}");
        }
    }
}
