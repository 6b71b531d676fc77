//! A message channel between two processes of one instance, with descriptors beside the bytes (SCM_RIGHTS, unix(7)).
//!
//! A frame is a little-endian `u32` head and a body: the low 24 bits of the head are the body's length, the high 8 bits say how many
//! descriptors belong to it. The kernel delivers descriptors with the first byte they were sent with, so they are always there
//! when the frame is whole.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::{descriptors, socket};

/// The longest body, bytes.
pub const MAX_BODY: usize = (16 << 20) - 1;
/// The most descriptors one message carries; the kernel's own limit is 253 (SCM_MAX_FD, unix(7)).
pub const MAX_FDS: usize = 240;
/// The most bytes that wait for a peer that does not read; a body of the longest kind fits always.
const MAX_QUEUE: usize = 64 << 20;
const HEAD: usize = 4;
const CHUNK: usize = 16 << 10;

/// One end. Non-blocking; neither side ever waits inside. It can be sent to another thread, but is used by one at a time.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    /// Whether descriptors may come along.
    carries: bool,
    incoming: RefCell<Incoming>,
    outgoing: RefCell<Outgoing>,
}

/// What came and was not taken yet: `bytes` from `start` to `end`. The rest of `bytes` is room to read into.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The length of the frame that begins at `start`, when that is known and it is not whole.
    wanted: usize,
    fds: VecDeque<OwnedFd>,
}

/// Bytes not sent yet, and at which offsets of them descriptors have to go along.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
    fds: VecDeque<(usize, Vec<OwnedFd>)>,
}

impl Channel {
    /// Two connected ends, close-on-exec.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Channel::from_stream(a)?, Channel::from_stream(b)?))
    }

    /// A channel over a connected unix stream socket.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn from_stream(stream: UnixStream) -> io::Result<Channel> {
        stream.set_nonblocking(true)?;
        Ok(Channel { stream, carries: true, incoming: RefCell::default(), outgoing: RefCell::default() })
    }

    /// The same for bytes only: neither side sends descriptors, which makes reading cheaper.
    #[must_use]
    pub fn without_descriptors(self) -> Channel {
        Channel { carries: false, ..self }
    }

    /// A channel over a descriptor that came in a message.
    ///
    /// # Errors
    /// It is no socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Channel> {
        Channel::from_stream(UnixStream::from(fd))
    }

    /// The socket, to hand this end to another process. What was received but not read is lost.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.stream.into()
    }

    /// Sends a message, or queues what the socket does not take now. The descriptors are duplicated only when they must wait.
    ///
    /// # Errors
    /// `InvalidInput` for a body or descriptors over the limits; `WouldBlock` when the queue is full (the message is not
    /// queued); the socket's error when the peer is gone.
    pub fn send(&self, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if body.len() > MAX_BODY || fds.len() > if self.carries { MAX_FDS } else { 0 } {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message over the limit of a channel"));
        }
        let mut out = self.outgoing.borrow_mut();
        out.push(body, fds)?;
        out.flush(&self.stream)
    }

    /// Queues a message without sending it yet, for [`Channel::flush`] to send with others; gives the bytes that wait.
    ///
    /// # Errors
    /// As [`Channel::send`], but for the socket's.
    pub fn enqueue(&self, body: &[u8]) -> io::Result<usize> {
        if body.len() > MAX_BODY {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message over the limit of a channel"));
        }
        let mut out = self.outgoing.borrow_mut();
        out.push(body, &[])?;
        Ok(out.waiting())
    }

    /// Bytes not sent yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outgoing.borrow().waiting()
    }

    /// Whether something waits for the socket to become writable; then watch for that and call [`Channel::flush`].
    #[must_use]
    pub fn wants_write(&self) -> bool {
        let out = self.outgoing.borrow();
        out.start < out.bytes.len()
    }

    /// Sends what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn flush(&self) -> io::Result<()> {
        self.outgoing.borrow_mut().flush(&self.stream)
    }

    /// The next whole message. `None`: the socket is empty for now (with edge-triggered polling, call until then).
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer has closed; `InvalidData` when it breaks the framing.
    pub fn recv(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut incoming = self.incoming.borrow_mut();
        loop {
            if let Some((body, count)) = incoming.frame()? {
                return Ok(Some((incoming.bytes[body].to_vec(), incoming.fds.drain(..count).collect())));
            }
            match incoming.fill(&self.stream, self.carries) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Lets `take` have the next message's body if it has been read whole. Descriptors of it are closed.
    ///
    /// # Errors
    /// `InvalidData` when the peer breaks the framing.
    pub fn take_read<R>(&self, take: impl FnOnce(&[u8]) -> R) -> io::Result<Option<R>> {
        let mut incoming = self.incoming.borrow_mut();
        let Some((body, count)) = incoming.frame()? else { return Ok(None) };
        incoming.fds.drain(..count);
        Ok(Some(take(&incoming.bytes[body])))
    }

    /// Reads once, for [`Channel::take_read`]. Whether there may be more to read; otherwise the socket is empty for now.
    ///
    /// # Errors
    /// `WouldBlock`, `Interrupted`; `UnexpectedEof` when the peer has closed.
    pub fn fill(&self) -> io::Result<bool> {
        self.incoming.borrow_mut().fill(&self.stream, self.carries)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Incoming {
    /// The place of the next body, which is taken out, and how many descriptors belong to it, which are the first of the queue.
    fn frame(&mut self) -> io::Result<Option<(Range<usize>, usize)>> {
        let waiting = &self.bytes[self.start..self.end];
        let Some((head, rest)) = waiting.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let head = u32::from_le_bytes(*head);
        let (length, count) = ((head & 0x00FF_FFFF) as usize, (head >> 24) as usize);
        if count > MAX_FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors announced on a channel"));
        }
        if rest.len() < length {
            self.wanted = HEAD + length;
            return Ok(None);
        }
        if self.fds.len() < count {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors missing on a channel"));
        }
        let body = self.start + HEAD..self.start + HEAD + length;
        self.start = body.end;
        self.wanted = 0;
        Ok(Some((body, count)))
    }

    /// Reads once. Whether there may be more; a read that carries descriptors ends with them, so that its length says nothing.
    fn fill(&mut self, stream: &UnixStream, carries: bool) -> io::Result<bool> {
        self.make_room();
        let room = &mut self.bytes[self.end..];
        let wanted = room.len();
        let read = if carries {
            descriptors::receive(stream.as_fd(), IoSliceMut::new(room), &mut self.fds)
        } else {
            socket::recv(stream.as_fd(), room)
        };
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.end += read;
                Ok(carries || read == wanted)
            }
            // A peer killed with unread data in its queue: the same as closed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        }
    }

    /// Room for a piece, or for the rest of a frame that is longer. What was made once is not made again for each read.
    fn make_room(&mut self) {
        let used = self.end - self.start;
        let room = CHUNK.max(self.wanted.saturating_sub(used));
        if used == 0 {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > CHUNK {
                self.bytes.truncate(CHUNK);
                self.bytes.shrink_to(CHUNK);
            }
        }
        if self.bytes.len() - self.end < room {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, used);
            if self.bytes.len() < used + room {
                self.bytes.resize(used + room, 0);
            }
        }
    }
}

impl Outgoing {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn push(&mut self, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.waiting() + HEAD + body.len() > MAX_QUEUE {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the peer does not read its channel"));
        }
        // Both fit by the caller's check: 24 bits of length, 8 bits of count.
        let head = (body.len() as u32) | ((fds.len() as u32) << 24);
        let queued: Vec<OwnedFd> = fds.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>()?;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&head.to_le_bytes());
        self.bytes.extend_from_slice(body);
        if !queued.is_empty() {
            self.fds.push_back((at, queued));
        }
        Ok(())
    }

    fn flush(&mut self, stream: &UnixStream) -> io::Result<()> {
        while self.start < self.bytes.len() {
            // Descriptors go with the first byte of their frame, so a write that carries some begins there, and one that does
            // not ends before the next such place.
            let carries = self.fds.front().is_some_and(|(at, _)| *at == self.start);
            let end = self.fds.get(usize::from(carries)).map_or(self.bytes.len(), |(at, _)| *at);
            let data = &self.bytes[self.start..end];
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            let sent = match self.fds.front() {
                Some((_, fds)) if carries => {
                    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
                    let control = [ControlMessage::ScmRights(&raw)];
                    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(data)], &control, flags, None).map_err(io::Error::from)
                }
                _ => socket::send(stream.as_fd(), data, flags.bits()),
            };
            match sent {
                Ok(sent) => {
                    if carries {
                        self.fds.pop_front();
                    }
                    self.start += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.compact();
        Ok(())
    }

    /// Forgets what was sent once that is more than what waits, so that each byte is moved at most once on average.
    fn compact(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(CHUNK);
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            for (at, _) in &mut self.fds {
                *at -= self.start;
            }
        } else {
            return;
        }
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    fn pair() -> (Channel, Channel) {
        Channel::pair().expect("a socket pair")
    }

    fn file_with(text: &str) -> OwnedFd {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file.rewind().expect("rewound");
        file.into()
    }

    fn text_of(fd: OwnedFd) -> String {
        let mut text = String::new();
        std::fs::File::from(fd).read_to_string(&mut text).expect("readable");
        text
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (a, b) = pair();
        assert!(b.recv().expect("open").is_none());
        for i in 0..1000u32 {
            a.send(&i.to_le_bytes(), &[]).expect("room");
        }
        a.send(b"", &[]).expect("room");
        let mut seen = Vec::new();
        while seen.len() < 1001 {
            a.flush().expect("open");
            while let Some((body, _)) = b.recv().expect("open") {
                seen.push(body);
            }
        }
        assert!((0..1000u32).zip(&seen).all(|(i, body)| *body == i.to_le_bytes()));
        assert_eq!(seen[1000], b"");
    }

    #[test]
    fn descriptors_stay_with_their_message() {
        let (a, b) = pair();
        let (one, two, three) = (file_with("one"), file_with("two"), file_with("three"));
        a.send(b"none", &[]).expect("room");
        a.send(b"first", &[one.as_fd()]).expect("room");
        a.send(b"none", &[]).expect("room");
        a.send(b"second", &[two.as_fd(), three.as_fd()]).expect("room");
        let mut seen = Vec::new();
        while let Some((body, fds)) = b.recv().expect("open") {
            seen.push((String::from_utf8(body).expect("text"), fds.into_iter().map(text_of).collect::<Vec<_>>()));
        }
        let wanted = [("none", vec![]), ("first", vec!["one"]), ("none", vec![]), ("second", vec!["two", "three"])];
        assert_eq!(seen.len(), wanted.len());
        for ((body, fds), (wanted_body, wanted_fds)) in seen.iter().zip(wanted) {
            assert_eq!((body.as_str(), fds.iter().map(String::as_str).collect::<Vec<_>>()), (wanted_body, wanted_fds));
        }
    }

    #[test]
    fn without_descriptors_a_read_tells_whether_there_may_be_more() {
        let (a, b) = pair();
        let (a, b) = (a.without_descriptors(), b.without_descriptors());
        let lengths = |b: &Channel| std::iter::from_fn(|| b.take_read(<[u8]>::len).expect("frames")).collect::<Vec<_>>();
        a.send(b"one", &[]).expect("room");
        a.send(&[], &[]).expect("room");
        assert!(!b.fill().expect("bytes"), "it is empty now");
        assert_eq!(lengths(&b), [3, 0]);
        assert_eq!(b.fill().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // Longer than a piece, and in pieces that end anywhere.
        a.send(&vec![1; 3 * CHUNK], &[]).expect("room");
        a.send(b"after", &[]).expect("room");
        let mut seen = Vec::new();
        while b.fill().expect("bytes") {
            seen.extend(lengths(&b));
        }
        seen.extend(lengths(&b));
        assert_eq!(seen, [3 * CHUNK, 5]);
        let file = file_with("none");
        assert_eq!(a.send(b"fd", &[file.as_fd()]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        drop(a);
        assert_eq!(b.fill().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_the_socket_does_not_take_waits_with_its_descriptors() {
        let (a, b) = pair();
        let body = vec![7u8; 1 << 20];
        let file = file_with("late");
        for _ in 0..8 {
            a.send(&body, &[]).expect("queued");
        }
        a.send(b"fd", &[file.as_fd()]).expect("queued");
        assert!(a.wants_write());
        let mut got = Vec::new();
        while got.len() < 9 {
            a.flush().expect("open");
            while let Some(message) = b.recv().expect("open") {
                got.push(message);
            }
        }
        assert!(!a.wants_write());
        assert!(got[..8].iter().all(|(b, f)| *b == body && f.is_empty()));
        let (last, mut fds) = got.pop().expect("nine");
        assert_eq!(last, b"fd");
        assert_eq!(text_of(fds.pop().expect("one descriptor")), "late");
    }

    #[test]
    fn the_end_of_the_peer_is_seen_after_its_last_message() {
        let (a, b) = pair();
        a.send(b"bye", &[]).expect("room");
        drop(a);
        assert_eq!(b.recv().expect("a message").expect("a message").0, b"bye");
        assert_eq!(b.recv().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(b.send(b"x", &[]).is_err());
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let (a, b) = pair();
        assert_eq!(a.send(&vec![0; MAX_BODY + 1], &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let mut raw = UnixStream::from(a.into_fd());
        raw.write_all(&[0, 0, 0, 250]).expect("room");
        assert_eq!(b.recv().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_queue_that_nobody_reads_is_bounded() {
        let (a, _b) = pair();
        let body = vec![0u8; 8 << 20];
        let refused = (0..20).find_map(|_| a.send(&body, &[]).err()).expect("a full queue");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
