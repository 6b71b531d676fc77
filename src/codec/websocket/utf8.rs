//! Text that is checked while it arrives (RFC 6455 §8.1): a message may be cut anywhere, inside a character too.

/// Checks a text that comes in pieces, and refuses it with the first byte that makes it invalid.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    /// The beginning of a character whose rest has not come.
    begun: [u8; 4],
    length: u8,
}

impl Utf8 {
    /// Takes the next piece; `false` when no continuation can make the text valid.
    #[must_use]
    pub fn take(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return true };
            // An unfinished character has at most three bytes.
            self.begun[usize::from(self.length)] = byte;
            self.length += 1;
            piece = rest;
            match std::str::from_utf8(&self.begun[..usize::from(self.length)]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = &piece[error.valid_up_to()..];
                self.begun[..tail.len()].copy_from_slice(tail);
                self.length = tail.len() as u8;
                true
            }
        }
    }

    /// Whether the text may end here: not inside a character. The next text begins afresh.
    #[must_use]
    pub fn end(&mut self) -> bool {
        std::mem::take(&mut self.length) == 0
    }
}
