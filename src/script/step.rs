//! Steps, and the limit on how long one may take.
//!
//! A step is one uninterrupted run of a script: from the moment a coroutine is resumed until it waits or ends. Nothing else happens in the
//! worker meanwhile, so a step that does not end starves every connection of the process.
//!
//! A step costs a handful of plain stores: its number goes into a record of the thread, odd while it runs. One watchdog thread looks at the
//! records every [`TICK`] while there is activity and sleeps when there has been none for a second; it needs no clock from the step. When a step
//! has been seen running for its limit the watchdog arms the VM's interrupt, which then raises an error at the script's next safe point, again
//! and again until the step is over, so that no `pcall` in the script can go on.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::sys::luau_interrupt::{self, InterruptSlot, Judge, Verdict};

/// How often the watchdog looks while scripts run: the accuracy of the step limit.
const TICK: Duration = Duration::from_millis(8);
/// After so many ticks without a step the watchdog sleeps until the next one.
const IDLE_TICKS: u32 = 125;
/// How much of a step's text is kept for reports, in machine words.
const TEXT_WORDS: usize = 8;

/// What a step was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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

    fn from_number(number: u8) -> StepKind {
        match number {
            0 => StepKind::Load,
            1 => StepKind::Request,
            2 => StepKind::Connection,
            3 => StepKind::WebSocket,
            4 => StepKind::Task,
            5 => StepKind::Timer,
            _ => StepKind::Evaluate,
        }
    }
}

/// A step that is running, for slow-step reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningStep {
    /// The application's name.
    pub app: String,
    /// What was running: the kind, and the first bytes of its text, such as `request /chat`.
    pub label: String,
    /// The number of the step in its thread, to recognise it when seen again.
    pub number: u64,
}

/// The step that one thread is running. Written by that thread, read by the watchdog; `breached` goes the other way.
struct StepRecord {
    /// Odd while a step runs; grows by one at every begin and end.
    sequence: AtomicU64,
    /// The sequence number of the step that exceeded its limit, or 0.
    breached: AtomicU64,
    vm: AtomicUsize,
    limit_ms: AtomicU32,
    kind: AtomicU8,
    text_len: AtomicU8,
    text: [AtomicU64; TEXT_WORDS],
}

impl StepRecord {
    fn new() -> StepRecord {
        StepRecord {
            sequence: AtomicU64::new(0),
            breached: AtomicU64::new(0),
            vm: AtomicUsize::new(usize::MAX),
            limit_ms: AtomicU32::new(u32::MAX),
            kind: AtomicU8::new(0),
            text_len: AtomicU8::new(0),
            text: [const { AtomicU64::new(0) }; TEXT_WORDS],
        }
    }

    fn set_text(&self, text: &[u8]) {
        let text = &text[..text.len().min(TEXT_WORDS * 8)];
        self.text_len.store(text.len() as u8, Ordering::Relaxed);
        for (word, bytes) in self.text.iter().zip(text.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
        }
    }

    /// What runs now, unless nothing does or it changed while being read.
    fn read(&self) -> Option<RunningStep> {
        let number = self.sequence.load(Ordering::SeqCst);
        if number.is_multiple_of(2) {
            return None;
        }
        let mut text: Vec<u8> = self.text.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        text.truncate(usize::from(self.text_len.load(Ordering::Relaxed)));
        let kind = StepKind::from_number(self.kind.load(Ordering::Relaxed));
        let vm = self.vm.load(Ordering::Relaxed);
        if self.sequence.load(Ordering::SeqCst) != number {
            return None;
        }
        let app = app_names().iter().find(|(key, _)| *key == vm).map(|(_, name)| name.clone()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let label = if text.is_empty() { kind.name().to_owned() } else { format!("{} {text}", kind.name()) };
        Some(RunningStep { app, label, number })
    }
}

thread_local! {
    static RECORD: Arc<StepRecord> = watchdog().register();
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

static APP_NAMES: Mutex<Vec<(usize, String)>> = Mutex::new(Vec::new());

fn app_names() -> std::sync::MutexGuard<'static, Vec<(usize, String)>> {
    APP_NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the steps of one VM need: its interrupt, its limit, its name for reports.
pub struct StepTicket {
    slot: InterruptSlot,
    limit_ms: u32,
    limit: Duration,
}

impl StepTicket {
    /// Prepares a VM for steps of at most `limit`.
    #[must_use]
    pub fn new(lua: &mlua::Lua, app: &str, limit: Duration) -> StepTicket {
        let slot = InterruptSlot::new(lua);
        app_names().push((slot.key(), app.to_owned()));
        StepTicket { slot, limit_ms: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX), limit }
    }

    /// Begins a step; it ends when the guard is dropped. A step begun inside another one is part of that one.
    pub fn begin(&self, kind: StepKind, text: &[u8]) -> StepGuard<'_> {
        if RUNNING.replace(true) {
            return StepGuard { ticket: None };
        }
        RECORD.with(|record| {
            record.vm.store(self.slot.key(), Ordering::Relaxed);
            record.limit_ms.store(self.limit_ms, Ordering::Relaxed);
            record.kind.store(kind as u8, Ordering::Relaxed);
            record.set_text(text);
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

impl Drop for StepTicket {
    fn drop(&mut self) {
        let key = self.slot.key();
        app_names().retain(|(other, _)| *other != key);
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

/// The step that the calling thread is running.
#[must_use]
pub fn current_step() -> Option<RunningStep> {
    RECORD.with(|record| record.read())
}

/// The steps that the threads of this process are running: in a worker at most one.
#[must_use]
pub fn running_steps() -> Vec<RunningStep> {
    watchdog().records().iter().filter_map(|record| record.upgrade()?.read()).collect()
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
}

static WATCHDOG: Watchdog = Watchdog { records: Mutex::new(Vec::new()), asleep: AtomicBool::new(false), thread: OnceLock::new() };

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
        let mut quiet = 0;
        loop {
            std::thread::sleep(TICK);
            if self.look(&mut seen, Instant::now()) {
                quiet = 0;
                continue;
            }
            quiet += 1;
            if quiet >= IDLE_TICKS {
                quiet = 0;
                self.sleep(&mut seen);
            }
        }
    }

    fn sleep(&self, seen: &mut Vec<Seen>) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.look(seen, Instant::now()) {
            self.asleep.store(false, Ordering::SeqCst);
            return;
        }
        while self.asleep.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }

    /// Looks at every record once; whether any step began, ran or ended since the last look.
    fn look(&self, seen: &mut Vec<Seen>, now: Instant) -> bool {
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
                entry.check(&record, now);
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
    fn check(&mut self, record: &StepRecord, now: Instant) {
        let limit = Duration::from_millis(u64::from(record.limit_ms.load(Ordering::Relaxed)));
        // The step began between two looks: on average half a tick before it was first seen.
        if self.armed || now.duration_since(self.since) + TICK / 2 < limit {
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
    fn a_running_step_is_described_and_an_ended_one_is_not() {
        let lua = mlua::Lua::new();
        let ticket = StepTicket::new(&lua, "chat", Duration::from_secs(1));
        assert_eq!(current_step(), None);
        let step = ticket.begin(StepKind::Request, b"/room/1");
        let running = current_step().expect("a step runs");
        assert_eq!((running.app.as_str(), running.label.as_str()), ("chat", "request /room/1"));
        assert!(running_steps().contains(&running));
        let inner = ticket.begin(StepKind::Task, b"inner");
        drop(inner);
        assert_eq!(current_step(), Some(running), "a step inside a step is part of it");
        drop(step);
        assert_eq!(current_step(), None);
    }

    #[test]
    fn long_texts_are_cut() {
        let lua = mlua::Lua::new();
        let ticket = StepTicket::new(&lua, "chat", Duration::from_secs(1));
        let _step = ticket.begin(StepKind::Request, &[b'x'; 300]);
        assert_eq!(current_step().expect("a step runs").label, format!("request {}", "x".repeat(64)));
    }
}
