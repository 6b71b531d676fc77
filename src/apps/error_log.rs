//! What a program says on its standard error, as lines of the log: bounded in length and number.

use std::rc::Rc;

use super::work::Work;

/// The longest line; what follows it is left out.
const LONGEST: usize = 2 << 10;
/// The most lines of one request.
const MOST: usize = 100;

/// The lines of one request.
pub(super) struct ErrorLog {
    work: Rc<Work>,
    line: Vec<u8>,
    cut: bool,
    lines: usize,
}

impl ErrorLog {
    pub(super) fn new(work: &Rc<Work>) -> Self {
        Self { work: work.clone(), line: Vec::new(), cut: false, lines: 0 }
    }

    /// Takes what was said; whole lines go to the log.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LONGEST - self.line.len();
            self.cut |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if whole {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mark = if std::mem::take(&mut self.cut) { "…" } else { "" };
        let text = line.trim_ascii_end();
        if text.is_empty() {
            return;
        }
        self.lines += 1;
        if self.lines <= MOST {
            self.work.warn(&format!("{}{mark}", String::from_utf8_lossy(text)));
        }
    }
}

impl Drop for ErrorLog {
    /// The last line may have no end.
    fn drop(&mut self) {
        self.end_line();
        if let Some(more @ 1..) = self.lines.checked_sub(MOST) {
            self.work.warn(&format!("{more} more lines on its standard error"));
        }
    }
}
