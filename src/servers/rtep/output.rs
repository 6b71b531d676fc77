//! What waits to be sent to one connection, within bounds.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::config::Overflow;

/// Lines that leave in one write at most.
const MOST_AT_ONCE: usize = 64;
/// A queue with room for more is given back when it is empty.
const KEPT: usize = 8;

/// One entry of the queue.
enum Entry {
    /// It must be sent, or the connection end.
    Answer(Bytes),
    /// It was published, and may be dropped for who cannot follow.
    Event(Bytes),
    /// So many were dropped here.
    Missed(u64),
}

/// What may wait.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) lines: usize,
    pub(super) overflow: Overflow,
}

/// Lines in the order in which they leave.
#[derive(Default)]
pub(super) struct Output {
    queue: VecDeque<Entry>,
    bytes: usize,
    /// Bytes of the first line that have left.
    sent: usize,
}

/// The connection is too slow for what it gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a line within the bounds; the first one always fits. Gives how many events were dropped for it.
    pub(super) fn push(&mut self, line: Bytes, is_event: bool, bounds: Bounds) -> Result<u64, Full> {
        let mut dropped = 0;
        while !self.queue.is_empty() && (self.bytes + line.len() > bounds.bytes || self.queue.len() >= bounds.lines) {
            if bounds.overflow == Overflow::Close || !self.drop_oldest() {
                return Err(Full);
            }
            dropped += 1;
        }
        self.bytes += line.len();
        self.queue.push_back(if is_event { Entry::Event(line) } else { Entry::Answer(line) });
        Ok(dropped)
    }

    /// Drops the oldest event that has not begun to leave, and notes it where it was.
    fn drop_oldest(&mut self) -> bool {
        let start = usize::from(self.sent > 0);
        let Some(at) = (start..self.queue.len()).find(|&at| matches!(self.queue[at], Entry::Event(_))) else { return false };
        let noted = at > start && matches!(self.queue[at - 1], Entry::Missed(_));
        let dropped = if noted { self.queue.remove(at) } else { Some(std::mem::replace(&mut self.queue[at], Entry::Missed(0))) };
        if let Some(Entry::Event(line)) = dropped {
            self.bytes -= line.len();
        }
        if let Entry::Missed(count) = &mut self.queue[if noted { at - 1 } else { at }] {
            *count += 1;
        }
        true
    }

    fn line(&self, at: usize) -> Option<&Bytes> {
        match self.queue.get(at)? {
            Entry::Answer(line) | Entry::Event(line) => Some(line),
            Entry::Missed(_) => None,
        }
    }

    /// What to write next. `missed` makes the line that tells of dropped events: at the last moment, so that it says all.
    pub(super) fn next<'a>(&'a mut self, slices: &mut Vec<IoSlice<'a>>, missed: impl Fn(u64) -> Bytes) {
        let count = self.queue.len().min(MOST_AT_ONCE);
        for entry in self.queue.iter_mut().take(count) {
            if let Entry::Missed(count) = entry {
                let line = missed(*count);
                self.bytes += line.len();
                *entry = Entry::Answer(line);
            }
        }
        for at in 0..count {
            let Some(line) = self.line(at) else { break };
            slices.push(IoSlice::new(&line[if at == 0 { self.sent } else { 0 }..]));
        }
    }

    /// So many bytes have left.
    pub(super) fn advance(&mut self, mut count: usize) {
        while let Some(length) = self.line(0).map(Bytes::len) {
            let left = length - self.sent;
            if count < left {
                self.sent += count;
                return;
            }
            count -= left;
            self.sent = 0;
            self.bytes -= length;
            self.queue.pop_front();
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DROPS: Bounds = Bounds { bytes: 100, lines: 4, overflow: Overflow::DropOldest };

    fn line(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn written(output: &mut Output) -> String {
        let mut slices = Vec::new();
        output.next(&mut slices, |count| line(&format!("-{count}-")));
        slices.iter().map(|slice| String::from_utf8_lossy(slice)).collect()
    }

    #[test]
    fn the_oldest_events_go_first_and_are_counted_where_they_were() {
        let mut output = Output::default();
        output.push(line("answer"), false, DROPS).unwrap();
        for text in ["b", "c", "d"] {
            assert_eq!(output.push(line(text), true, DROPS), Ok(0));
        }
        let dropped: u64 = ["e", "f"].into_iter().map(|text| output.push(line(text), true, DROPS).unwrap()).sum();
        assert_eq!(written(&mut output), format!("answer-{dropped}-ef"));
    }

    #[test]
    fn what_has_begun_to_leave_stays_whole() {
        let mut output = Output::default();
        let bounds = Bounds { bytes: 6, ..DROPS };
        output.push(line("abcdef"), true, bounds).unwrap();
        output.advance(2);
        assert_eq!(output.push(line("gh"), true, bounds), Err(Full), "nothing can be dropped");
        assert_eq!((written(&mut output).as_str(), output.bytes()), ("cdef", 6));
        output.advance(4);
        assert_eq!((output.is_empty(), output.bytes()), (true, 0));
        assert_eq!(output.push(line(&"x".repeat(1000)), false, bounds), Ok(0), "the first line always fits");
    }

    #[test]
    fn answers_are_never_dropped() {
        let mut output = Output::default();
        for _ in 0..4 {
            output.push(line("x"), false, DROPS).unwrap();
        }
        assert_eq!(output.push(line("y"), true, DROPS), Err(Full));
        let mut output = Output::default();
        let closes = Bounds { overflow: Overflow::Close, ..DROPS };
        for _ in 0..4 {
            output.push(line("x"), true, closes).unwrap();
        }
        assert_eq!(output.push(line("y"), true, closes), Err(Full));
    }
}
