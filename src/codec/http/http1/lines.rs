//! Finding the end of a head without reading any byte twice, however slowly it arrives.

use super::{HeadLimits, MAX_FIELDS};

/// What is wrong with the lines of a head, before anybody looks into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineError {
    BareLineFeed,
    StartTooLong,
    FieldTooLong,
    TooManyFields,
    TooLarge,
}

/// Remembers how far a head was looked at. The buffer given to [`LineScanner::end_of_head`] must start with the same
/// bytes each time and may only grow.
#[derive(Clone, Debug, Default)]
pub(super) struct LineScanner {
    /// Where the current line starts.
    line: usize,
    /// Where to look on for its end.
    from: usize,
    /// Whole lines seen.
    lines: usize,
}

impl LineScanner {
    /// Skips bytes in front of the first line.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.line = bytes;
        self.from = bytes;
    }

    /// The offset just behind the empty line that ends a head starting at `start`, or `None` while it has not arrived.
    ///
    /// The verdict does not depend on where the input was split: limits are checked before the bytes that pass them.
    pub(super) fn end_of_head(&mut self, buf: &[u8], start: usize, limits: &HeadLimits) -> Result<Option<usize>, LineError> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &buf[self.from..]) else {
                self.from = buf.len();
                self.check_lengths(start, buf.len(), limits)?;
                return Ok(None);
            };
            let at = self.from + found;
            self.check_lengths(start, at, limits)?;
            if at == self.line || buf[at - 1] != b'\r' {
                return Err(LineError::BareLineFeed);
            }
            if at - self.line == 1 && self.lines > 0 {
                return Ok(Some(at + 1));
            }
            if self.lines > limits.fields.min(MAX_FIELDS) {
                return Err(LineError::TooManyFields);
            }
            self.lines += 1;
            self.line = at + 1;
            self.from = at + 1;
        }
    }

    /// `end` is the end of what is known of the current line, at most its CR included.
    fn check_lengths(&self, start: usize, end: usize, limits: &HeadLimits) -> Result<(), LineError> {
        let length = end - self.line;
        let (limit, error) = if self.lines == 0 { (limits.line, LineError::StartTooLong) } else { (limits.field, LineError::FieldTooLong) };
        if length > limit + 1 {
            return Err(error);
        }
        if end - start >= limits.total {
            return Err(LineError::TooLarge);
        }
        Ok(())
    }
}
