//! The way of short texts between native code and the VM: two buffers, one each way.
//!
//! A string costs native code a protected call to make and a reference to keep; a number costs nothing. So a text that fits is put in a
//! buffer and its length is what is passed. Whoever is given a length takes the text before anything else can run.

use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use mlua::{Buffer, IntoLua, Lua, Value};

/// Room in each of the buffers.
const ROOM: usize = 8 << 10;

/// The native ends of the two buffers.
pub(super) struct Passage {
    inward: Buffer,
    outward: RefCell<Box<dyn Outward>>,
}

trait Outward: Read + Seek {}
impl<T: Read + Seek> Outward for T {}

/// A text on its way into the VM.
pub(super) enum Entering<'a> {
    /// It stands in the buffer and has this length.
    Placed(usize),
    /// It goes as a string.
    Whole(&'a str),
}

impl IntoLua for Entering<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Entering::Placed(length) => Ok(Value::Number(length as f64)),
            Entering::Whole(text) => lua.create_string(text).map(Value::String),
        }
    }
}

impl Passage {
    /// Makes the buffers; the VM's ends come first inward, then outward.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn new(lua: &Lua) -> mlua::Result<(Passage, Buffer, Buffer)> {
        let (inward, outward) = (lua.create_buffer_with_capacity(ROOM)?, lua.create_buffer_with_capacity(ROOM)?);
        let passage = Passage { inward: inward.clone(), outward: RefCell::new(Box::new(outward.clone().cursor())) };
        Ok((passage, inward, outward))
    }

    /// Puts a text where the VM looks for it.
    pub(super) fn put<'a>(&self, text: &'a str) -> Entering<'a> {
        if text.len() > ROOM {
            return Entering::Whole(text);
        }
        self.inward.write_bytes(0, text.as_bytes());
        Entering::Placed(text.len())
    }

    /// Takes a text that the VM has put there: `length` is what it said, at most [`ROOM`].
    ///
    /// # Errors
    /// A length beyond the buffer.
    pub(super) fn take(&self, length: usize) -> mlua::Result<Bytes> {
        let mut outward = self.outward.borrow_mut();
        let mut text = vec![0; length];
        outward.seek(SeekFrom::Start(0)).and_then(|_| outward.read_exact(&mut text)).map_err(mlua::Error::external)?;
        Ok(text.into())
    }
}
