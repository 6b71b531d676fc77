//! What waits to be sent to one peer, within bounds.

use bytes::Bytes;

use super::config::Overflow;
use super::moment::Moment;
use super::queue::Queue;
use crate::codec::websocket::Opcode;
use crate::codec::websocket::frame::{Head, encode};

/// Frames up to this size are copied together, so that many leave in one write.
const COPIED: usize = 16 << 10;
/// What is copied together at most.
pub(super) const BATCH: usize = 64 << 10;

/// One frame that waits.
enum Entry {
    /// It must be sent, or the connection end.
    Frame(Bytes),
    /// It was published, and may be dropped for a peer that cannot follow.
    Published(Bytes),
    /// It comes from a topic's history, whose limits are its own: room for it is made beside what else may wait.
    Recovered(Bytes),
    /// So many were dropped here.
    Missed(u64),
}

/// Why a message is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The application says it to this peer.
    Said,
    /// It goes to everybody who listens.
    Published,
    /// It was missed by this peer.
    Recovered,
}

/// What may wait.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) messages: usize,
    pub(super) overflow: Overflow,
}

/// What waits of a topic's history.
#[derive(Clone, Copy, Default)]
struct Recovered {
    messages: usize,
    bytes: usize,
}

/// Frames in the order in which they leave.
#[derive(Default)]
pub(super) struct Output {
    queue: Queue<Entry>,
    bytes: usize,
    /// How much of it is recovered, while anything is.
    recovered: Option<Box<Recovered>>,
    /// Bytes of the first frame that have left.
    sent: usize,
    /// Since when the peer has taken nothing, while something waits.
    pub(super) since: Option<Moment>,
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn recovered(&self) -> Recovered {
        self.recovered.as_deref().copied().unwrap_or_default()
    }

    /// Adds a frame whatever waits: replies to pings, closes.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.queue.push_back(Entry::Frame(frame));
    }

    /// Adds a message within the bounds; `Err` when it does not fit. The first one always fits. Gives how many others were dropped for it.
    pub(super) fn push_within(&mut self, frame: Bytes, cause: Cause, bounds: Bounds) -> Result<u64, Full> {
        let mut dropped = 0;
        if cause == Cause::Recovered {
            self.bytes += frame.len();
            let recovered = self.recovered.get_or_insert_default();
            recovered.messages += 1;
            recovered.bytes += frame.len();
            self.queue.push_back(Entry::Recovered(frame));
            return Ok(0);
        }
        let recovered = self.recovered();
        while !self.queue.is_empty()
            && (self.bytes - recovered.bytes + frame.len() > bounds.bytes || self.queue.len() - recovered.messages >= bounds.messages)
        {
            if self.queue.len() == recovered.messages {
                break;
            }
            if bounds.overflow == Overflow::Close || !self.drop_oldest() {
                return Err(Full);
            }
            dropped += 1;
        }
        self.bytes += frame.len();
        self.queue.push_back(if cause == Cause::Published { Entry::Published(frame) } else { Entry::Frame(frame) });
        Ok(dropped)
    }

    /// Drops the oldest published frame that has not begun to leave, and notes it where it was.
    fn drop_oldest(&mut self) -> bool {
        let start = usize::from(self.sent > 0);
        let Some(at) = (start..self.queue.len()).find(|&at| matches!(self.queue.get(at), Some(Entry::Published(_)))) else { return false };
        if at > start
            && let Some(Entry::Missed(count)) = self.queue.get_mut(at - 1)
        {
            *count += 1;
            if let Some(Entry::Published(frame)) = self.queue.remove(at) {
                self.bytes -= frame.len();
            }
            return true;
        }
        if let Some(place) = self.queue.get_mut(at)
            && let Entry::Published(frame) = std::mem::replace(place, Entry::Missed(1))
        {
            self.bytes -= frame.len();
        }
        true
    }

    /// Drops everything that has not begun to leave: the connection ends.
    pub(super) fn clear_unsent(&mut self) {
        let kept = usize::from(self.sent > 0);
        self.queue.truncate(kept);
        self.bytes = match self.queue.get(0) {
            Some(Entry::Frame(frame) | Entry::Published(frame) | Entry::Recovered(frame)) => frame.len(),
            _ => 0,
        };
        let begun = matches!(self.queue.get(0), Some(Entry::Recovered(_)));
        self.recovered = begun.then(|| Box::new(Recovered { messages: 1, bytes: self.bytes }));
    }

    /// Makes the notes of dropped messages that come first into frames. A note is made when it is about to leave, so that it says all.
    fn settle(&mut self, at: usize) {
        if let Some(place) = self.queue.get_mut(at)
            && let Entry::Missed(count) = place
        {
            let text = format!("{{\"type\":\"missed\",\"count\":{count}}}");
            let frame = encode(Head::whole(Opcode::Text), text.as_bytes(), None);
            self.bytes += frame.len();
            *place = Entry::Frame(frame);
        }
    }

    fn frame(&self, at: usize) -> Option<&Bytes> {
        match self.queue.get(at)? {
            Entry::Frame(frame) | Entry::Published(frame) | Entry::Recovered(frame) => Some(frame),
            Entry::Missed(_) => None,
        }
    }

    /// What to write next, when it is one frame that was made already.
    pub(super) fn only(&self) -> Option<&[u8]> {
        let first = self.frame(0).filter(|_| self.queue.len() == 1)?;
        Some(&first[self.sent..])
    }

    /// What to write next: one frame, or several copied together into `scratch`.
    pub(super) fn next<'a>(&'a mut self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        self.settle(0);
        let sent = self.sent;
        if self.queue.len() > 1 && self.frame(0).is_some_and(|first| first.len() - sent <= COPIED) {
            scratch.clear();
            let mut at = 0;
            loop {
                self.settle(at);
                let Some(frame) = self.frame(at) else { break };
                let piece = &frame[if at == 0 { sent } else { 0 }..];
                if at > 0 && (piece.len() > COPIED || scratch.len() + piece.len() > BATCH) {
                    break;
                }
                scratch.extend_from_slice(piece);
                at += 1;
            }
            return scratch;
        }
        self.frame(0).map_or(&[], |first| &first[sent..])
    }

    /// So many bytes have left.
    pub(super) fn advance(&mut self, mut count: usize) {
        while let Some(length) = self.frame(0).map(Bytes::len) {
            let left = length - self.sent;
            if count < left {
                self.sent += count;
                return;
            }
            count -= left;
            self.sent = 0;
            self.bytes -= length;
            if let Some(Entry::Recovered(_)) = self.queue.pop_front()
                && let Some(recovered) = &mut self.recovered
            {
                recovered.messages -= 1;
                recovered.bytes -= length;
                if recovered.messages == 0 {
                    self.recovered = None;
                }
            }
        }
    }
}

/// The peer is too slow for what it gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    const DROPS: Bounds = Bounds { bytes: 100, messages: 4, overflow: Overflow::DropOldest };

    fn frame(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn written(output: &mut Output) -> String {
        let mut scratch = Vec::new();
        String::from_utf8_lossy(output.next(&mut scratch)).into_owned()
    }

    #[test]
    fn the_oldest_published_ones_go_first_and_are_counted_where_they_were() {
        let mut output = Output::default();
        output.push_within(frame("a"), Cause::Said, DROPS).unwrap();
        for text in ["b", "c", "d"] {
            assert_eq!(output.push_within(frame(text), Cause::Published, DROPS), Ok(0));
        }
        let mut dropped = 0;
        for text in ["e", "f"] {
            dropped += output.push_within(frame(text), Cause::Published, DROPS).unwrap();
        }
        let note = format!("a\u{fffd}\u{1b}{{\"type\":\"missed\",\"count\":{dropped}}}");
        let all = written(&mut output);
        assert!(all.starts_with(&note) && all.ends_with("ef"), "{all:?}");
    }

    #[test]
    fn what_is_half_sent_stays_whole() {
        let mut output = Output::default();
        let bounds = Bounds { bytes: 6, ..DROPS };
        output.push_within(frame("abcdef"), Cause::Published, bounds).unwrap();
        output.advance(2);
        assert_eq!(output.push_within(frame("gh"), Cause::Published, bounds), Err(Full), "nothing can be dropped");
        output.clear_unsent();
        assert_eq!(written(&mut output), "cdef");
        output.advance(4);
        assert_eq!((output.is_empty(), output.bytes()), (true, 0));
        let large = "x".repeat(1000);
        assert_eq!(output.push_within(frame(&large), Cause::Said, bounds), Ok(0), "the first message always fits");
    }

    #[test]
    fn replies_are_never_dropped() {
        let mut output = Output::default();
        for _ in 0..4 {
            output.push_within(frame("x"), Cause::Said, DROPS).unwrap();
        }
        assert_eq!(output.push_within(frame("y"), Cause::Published, DROPS), Err(Full));
        let closes = Bounds { overflow: Overflow::Close, ..DROPS };
        let mut output = Output::default();
        for _ in 0..4 {
            output.push_within(frame("x"), Cause::Published, closes).unwrap();
        }
        assert_eq!(output.push_within(frame("y"), Cause::Published, closes), Err(Full));
    }

    #[test]
    fn what_is_recovered_has_room_of_its_own() {
        let mut output = Output::default();
        for _ in 0..50 {
            assert_eq!(output.push_within(frame("recovered"), Cause::Recovered, DROPS), Ok(0));
        }
        for _ in 0..4 {
            assert_eq!(output.push_within(frame("live"), Cause::Published, DROPS), Ok(0));
        }
        assert_eq!(output.push_within(frame("new"), Cause::Published, DROPS), Ok(2), "the limit holds for what is live, its note included");
        let all = written(&mut output);
        assert!(all.starts_with(&"recovered".repeat(50)) && all.ends_with("\"count\":2}livelivenew"), "{all:?}");
        output.advance(all.len());
        assert_eq!((output.is_empty(), output.bytes(), output.recovered.is_none()), (true, 0, true));
    }
}
