//! Steps, and the limit on how long one may take.
//!
//! A step is one uninterrupted run of a script: from the moment a coroutine is resumed until it waits or ends. Nothing else happens in the
//! worker meanwhile, so a step that does not end starves every connection of the process.
//!
//! A step costs a handful of plain stores: its number goes into a record of the thread, odd while it runs. One watchdog thread looks at the
//! records now and then while there is activity, several times within the shortest limit, and sleeps when there has been none for a second; it
//! needs no clock from the step. When a step has been seen running for its limit the watchdog arms the VM's interrupt, which then raises an error
//! at the script's next safe point, again and again until the step is over, so that no `pcall` in the script can go on.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::sys::luau_interrupt::{self, InterruptSlot, Judge, Verdict};

/// So many times within the shortest limit the watchdog looks while scripts run: the accuracy of a limit. Each look takes a core out of its
/// sleep, so there are no more of them than that.
const LOOKS: u32 = 16;
/// The time between two looks, at least and at most.
const TICKS: (Duration, Duration) = (Duration::from_millis(8), Duration::from_millis(125));
/// After so long without a step the watchdog sleeps until the next one.
const IDLE: Duration = Duration::from_secs(1);

/// What a step was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Loading the application and running `init`.
    Load,
    /// A request; the text is its path.
    Request,
    /// A raw connection; the text is the peer's address.
    Connection,
    /// A WebSocket connection; the text is the path of its request.
    WebSocket,
    /// A spawned task; the text is the place where it was spawned.
    Task,
    /// A timer.
    Timer,
    /// Code given by a person or a test.
    Evaluate,
}

impl StepKind {
    /// The word used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StepKind::Load => "load",
            StepKind::Request => "request",
            StepKind::Connection => "connection",
            StepKind::WebSocket => "websocket",
            StepKind::Task => "task",
            StepKind::Timer => "timer",
            StepKind::Evaluate => "evaluate",
        }
    }
}

/// The step that one thread is running. Written by that thread, read by the watchdog; `breached` goes the other way.
struct StepRecord {
    /// Odd while a step runs; grows by one at every begin and end.
    sequence: AtomicU64,
    /// The sequence number of the step that exceeded its limit, or 0.
    breached: AtomicU64,
    vm: AtomicUsize,
    limit_ms: AtomicU32,
}

impl StepRecord {
    fn new() -> StepRecord {
        StepRecord {
            sequence: AtomicU64::new(0),
            breached: AtomicU64::new(0),
            vm: AtomicUsize::new(usize::MAX),
            limit_ms: AtomicU32::new(u32::MAX),
        }
    }
}

thread_local! {
    static RECORD: Arc<StepRecord> = watchdog().register();
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// What the steps of one VM need: its interrupt and its limit.
pub struct StepTicket {
    slot: InterruptSlot,
    limit_ms: u32,
    limit: Duration,
}

impl StepTicket {
    /// Prepares a VM for steps of at most `limit`.
    #[must_use]
    pub fn new(lua: &mlua::Lua, limit: Duration) -> StepTicket {
        let slot = InterruptSlot::new(lua);
        let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        watchdog().shortest_ms.fetch_min(limit_ms, Ordering::Relaxed);
        StepTicket { slot, limit_ms, limit }
    }

    /// Begins a step; it ends when the guard is dropped. A step begun inside another one is part of that one.
    pub fn begin(&self) -> StepGuard<'_> {
        if RUNNING.replace(true) {
            return StepGuard { ticket: None };
        }
        RECORD.with(|record| {
            record.vm.store(self.slot.key(), Ordering::Relaxed);
            record.limit_ms.store(self.limit_ms, Ordering::Relaxed);
            // Sequentially consistent against the watchdog's `asleep`: either it sees this step before it sleeps or it is seen asleep here.
            record.sequence.fetch_add(1, Ordering::SeqCst);
        });
        watchdog().wake();
        StepGuard { ticket: Some(self) }
    }

    /// The limit on one step.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

/// Ends the step when dropped.
pub struct StepGuard<'a> {
    /// `None` for a step inside another one.
    ticket: Option<&'a StepTicket>,
}

impl StepGuard<'_> {
    /// Whether this step has exceeded its limit.
    #[must_use]
    pub fn breached(&self) -> bool {
        is_breached()
    }
}

impl Drop for StepGuard<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        RUNNING.set(false);
        RECORD.with(|record| {
            let number = record.sequence.fetch_add(1, Ordering::SeqCst);
            if record.breached.load(Ordering::Relaxed) == number {
                ticket.slot.disarm();
            }
        });
    }
}

fn is_breached() -> bool {
    RECORD.with(|record| record.breached.load(Ordering::Relaxed) == record.sequence.load(Ordering::Relaxed))
}

struct StepLimit;

impl Judge for StepLimit {
    fn judge() -> Verdict {
        if !is_breached() {
            return Verdict::Continue;
        }
        let limit = RECORD.with(|record| record.limit_ms.load(Ordering::Relaxed));
        Verdict::Raise(format!("step limit: ran longer than {} without waiting", human(limit)))
    }
}

fn human(milliseconds: u32) -> String {
    if milliseconds.is_multiple_of(1000) { format!("{} s", milliseconds / 1000) } else { format!("{milliseconds} ms") }
}

struct Watchdog {
    records: Mutex<Vec<Weak<StepRecord>>>,
    asleep: AtomicBool,
    thread: OnceLock<Option<Thread>>,
    /// The shortest limit that any VM of the process has had.
    shortest_ms: AtomicU32,
}

static WATCHDOG: Watchdog = Watchdog {
    records: Mutex::new(Vec::new()),
    asleep: AtomicBool::new(false),
    thread: OnceLock::new(),
    shortest_ms: AtomicU32::new(u32::MAX),
};

/// The process's watchdog. Its thread starts with the first step, so never before a fork.
fn watchdog() -> &'static Watchdog {
    &WATCHDOG
}

impl Watchdog {
    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Weak<StepRecord>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self) -> Arc<StepRecord> {
        let record = Arc::new(StepRecord::new());
        self.records().push(Arc::downgrade(&record));
        record
    }

    #[inline]
    fn wake(&'static self) {
        if self.thread.get().is_none() {
            self.start();
        } else if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(Some(thread)) = self.thread.get()
        {
            thread.unpark();
        }
    }

    #[cold]
    fn start(&'static self) {
        self.thread.get_or_init(|| {
            let started = std::thread::Builder::new().name("step-watchdog".to_owned()).stack_size(64 * 1024).spawn(move || self.run());
            match started {
                Ok(handle) => Some(handle.thread().clone()),
                Err(error) => {
                    eprintln!("skep: cannot start the watchdog thread, scripts run without a step limit: {error}");
                    None
                }
            }
        });
    }

    fn run(&self) {
        let mut seen: Vec<Seen> = Vec::new();
        let mut quiet = Duration::ZERO;
        loop {
            let tick = self.tick();
            std::thread::sleep(tick);
            if self.look(&mut seen, Instant::now(), tick) {
                quiet = Duration::ZERO;
                continue;
            }
            quiet += tick;
            if quiet >= IDLE {
                quiet = Duration::ZERO;
                self.sleep(&mut seen, tick);
            }
        }
    }

    /// The time until the next look.
    fn tick(&self) -> Duration {
        let shortest = Duration::from_millis(u64::from(self.shortest_ms.load(Ordering::Relaxed)));
        (shortest / LOOKS).clamp(TICKS.0, TICKS.1)
    }

    fn sleep(&self, seen: &mut Vec<Seen>, tick: Duration) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.look(seen, Instant::now(), tick) {
            self.asleep.store(false, Ordering::SeqCst);
            return;
        }
        while self.asleep.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }

    /// Looks at every record once, a tick after the last time; whether any step began, ran or ended since.
    fn look(&self, seen: &mut Vec<Seen>, now: Instant, tick: Duration) -> bool {
        let mut records = self.records();
        records.retain(|record| record.strong_count() > 0);
        seen.retain(|entry| entry.record.strong_count() > 0);
        let mut active = false;
        for weak in records.iter() {
            let Some(record) = weak.upgrade() else { continue };
            let number = record.sequence.load(Ordering::SeqCst);
            let entry = match seen.iter_mut().position(|entry| entry.record.ptr_eq(weak)) {
                Some(index) => &mut seen[index],
                None => {
                    seen.push(Seen { record: weak.clone(), number: 0, since: now, armed: false });
                    seen.last_mut().expect("an entry was just pushed")
                }
            };
            if entry.number != number {
                active = true;
                *entry = Seen { record: weak.clone(), number, since: now, armed: false };
            } else if !number.is_multiple_of(2) {
                active = true;
                entry.check(&record, now, tick);
            }
        }
        active
    }
}

/// What the watchdog knows of a record from earlier looks.
struct Seen {
    record: Weak<StepRecord>,
    number: u64,
    since: Instant,
    armed: bool,
}

impl Seen {
    fn check(&mut self, record: &StepRecord, now: Instant, tick: Duration) {
        let limit = Duration::from_millis(u64::from(record.limit_ms.load(Ordering::Relaxed)));
        // The step began between two looks: on average half a tick before it was first seen.
        if self.armed || now.duration_since(self.since) + tick / 2 < limit {
            return;
        }
        record.breached.store(self.number, Ordering::SeqCst);
        if record.sequence.load(Ordering::SeqCst) == self.number {
            luau_interrupt::arm::<StepLimit>(record.vm.load(Ordering::Relaxed));
            self.armed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_as_often_as_the_shortest_limit_wants() {
        let tick_of = |shortest: u32| {
            let shortest_ms = AtomicU32::new(shortest);
            Watchdog { records: Mutex::default(), asleep: AtomicBool::new(false), thread: OnceLock::new(), shortest_ms }.tick()
        };
        assert_eq!([10, 800, 2_000, u32::MAX].map(|shortest| tick_of(shortest).as_millis()), [8, 50, 125, 125]);
    }
}
