//! The kernel's readiness queue: registration, waiting, waking who waited.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use slab::Slab;

/// Events taken from the kernel in one call.
const EVENTS: usize = 256;
/// The registration of the descriptor that other threads write to.
const NOTIFY: u64 = u64::MAX;

/// What is known of one descriptor's readiness, and who waits for it.
#[derive(Default)]
pub(super) struct Source {
    /// A read may succeed: set by an edge, cleared by a read that found nothing (or less than it asked for).
    pub(super) readable: Cell<bool>,
    /// A write may succeed.
    pub(super) writable: Cell<bool>,
    /// The peer has closed its side, or the connection broke. Never cleared.
    pub(super) hung_up: Cell<bool>,
    pub(super) reader: Cell<Option<Waker>>,
    pub(super) writer: Cell<Option<Waker>>,
    pub(super) watcher: Cell<Option<Waker>>,
}

/// How a descriptor is registered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// Reading and writing, told once at each change: connections.
    Edge,
    /// As [`Interest::Edge`], but for writing only while a write waits: unix sockets, which tell of room at every read of the peer.
    Reading,
    /// Reading, told at each wait for as long as it is readable: listeners, whose queue several processes share.
    Level,
}

impl Interest {
    /// What the kernel is asked to tell. `on`: a write waits, or a listener listens.
    fn flags(self, on: bool) -> EpollFlags {
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        match self {
            Self::Edge => edge | EpollFlags::EPOLLOUT,
            Self::Reading if on => edge | EpollFlags::EPOLLOUT,
            Self::Reading => edge,
            Self::Level if on => EpollFlags::EPOLLIN,
            Self::Level => EpollFlags::empty(),
        }
    }
}

/// One epoll instance and its registrations.
pub(super) struct Poller {
    epoll: Epoll,
    /// With each registration its generation, so that an event for a descriptor that is gone reaches nobody.
    sources: RefCell<Slab<(u32, Rc<Source>)>>,
    generation: Cell<u32>,
    notify: Arc<EventFd>,
    events: RefCell<Vec<EpollEvent>>,
}

/// Wakes the reactor from another thread.
pub(super) struct Notifier(Arc<EventFd>);

impl Notifier {
    pub(super) fn notify(&self) {
        // The counter can only be full if the reactor has been told already.
        let _ = self.0.write(1);
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let notify = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&notify, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, NOTIFY))?;
        Ok(Self {
            epoll,
            sources: RefCell::default(),
            generation: Cell::new(0),
            notify: Arc::new(notify),
            events: RefCell::new(vec![EpollEvent::empty(); EVENTS]),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the caller treats it as part of setting up")]
    pub(super) fn notifier(&self) -> io::Result<Notifier> {
        Ok(Notifier(self.notify.clone()))
    }

    /// Registers a descriptor for life; gives its state and its key.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<(usize, Rc<Source>)> {
        let source = Rc::new(Source::default());
        let flags = interest.flags(interest == Interest::Level);
        // A new descriptor is tried before it is waited for; the first edge may have come before the registration.
        source.readable.set(true);
        source.writable.set(true);
        let generation = self.generation.get().wrapping_add(1) & 0x7fff_ffff;
        self.generation.set(generation);
        let key = self.sources.borrow_mut().insert((generation, source.clone()));
        let data = u64::from(generation) << 32 | key as u64;
        match self.epoll.add(fd, EpollEvent::new(flags, data)) {
            // A file of a disk is always ready and cannot be waited for: it stays readable and writable, as it was set above.
            Ok(()) | Err(Errno::EPERM) => Ok((key, source)),
            Err(error) => {
                self.sources.borrow_mut().remove(key);
                Err(error.into())
            }
        }
    }

    /// Turns off and on again what a registration is told at times only: that a listener is readable, or that a connection that is mostly read
    /// can be written to.
    pub(super) fn set(&self, fd: BorrowedFd<'_>, key: usize, interest: Interest, on: bool) -> io::Result<()> {
        let generation = self.sources.borrow().get(key).map_or(0, |(generation, _)| *generation);
        let mut event = EpollEvent::new(interest.flags(on), u64::from(generation) << 32 | key as u64);
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    /// Forgets a registration. A descriptor that lives on elsewhere is given too: closing ours does not take it out of epoll.
    pub(super) fn remove(&self, key: usize, shared: Option<BorrowedFd<'_>>) {
        self.sources.borrow_mut().try_remove(key);
        if let Some(fd) = shared {
            // The only failure is that it is not registered, which is what is wanted.
            let _ = self.epoll.delete(fd);
        }
    }

    /// Waits for at most `timeout` (`None`: until something happens) and wakes the tasks concerned.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            // Rounded up: a timer must not find itself a fraction of a millisecond early and spin.
            Some(limit) => {
                let millis = limit.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
                EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
            }
        };
        let mut events = self.events.borrow_mut();
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            self.dispatch(event);
        }
        Ok(())
    }

    fn dispatch(&self, event: &EpollEvent) {
        let data = event.data();
        if data == NOTIFY {
            // Edge-triggered: the counter is reset so that it never fills.
            let _ = self.notify.read();
            return;
        }
        let sources = self.sources.borrow();
        let Some((generation, source)) = usize::try_from(data & 0xffff_ffff).ok().and_then(|key| sources.get(key)) else { return };
        if u64::from(*generation) != data >> 32 {
            return;
        }
        let flags = event.events();
        let broken = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let ended = broken || flags.contains(EpollFlags::EPOLLRDHUP);
        if ended {
            source.hung_up.set(true);
            wake(&source.watcher);
        }
        if ended || flags.intersects(EpollFlags::EPOLLIN) {
            source.readable.set(true);
            wake(&source.reader);
        }
        if broken || flags.contains(EpollFlags::EPOLLOUT) {
            source.writable.set(true);
            wake(&source.writer);
        }
    }
}

fn wake(slot: &Cell<Option<Waker>>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}

/// Keeps `waker` in `slot` unless it is there already.
pub(super) fn keep(slot: &Cell<Option<Waker>>, waker: &Waker) {
    let kept = match slot.take() {
        Some(old) if old.will_wake(waker) => old,
        _ => waker.clone(),
    };
    slot.set(Some(kept));
}
