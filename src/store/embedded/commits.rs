//! Group commits: writes that come while a transaction is made durable go together into the next one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event_listener::Event;

use super::writer::Writer;
use crate::log_error;
use crate::reactor::{self, Scope};
use crate::store::call::{StoreAnswer, StoreCall, Write};
use crate::store::{EmbeddedSettings, StoreError};

/// The most writes of one transaction.
const MOST: usize = 1000;
/// The most bytes of documents, filters and updates that wait, above the first call.
const MOST_BYTES: usize = 64 << 20;
/// How long one waits for a change at most; then it is said that there was none.
const WAIT: Duration = Duration::from_secs(5);

type Answer = Result<StoreAnswer, StoreError>;

/// Takes the calls of all workers to the one writer. Lives in one process of the machine.
pub struct Commits {
    settings: EmbeddedSettings,
    jobs: RefCell<VecDeque<Job>>,
    /// What waits in `jobs`.
    bytes: Cell<usize>,
    running: Cell<bool>,
    /// None while a transaction is made, and as long as nobody has asked for anything.
    writer: RefCell<Option<Writer>>,
    last: Cell<u64>,
    changed: Event,
    /// Removes documents whose time is over.
    scope: Scope,
    expiring: Cell<bool>,
}

struct Job {
    work: Work,
    answer: async_channel::Sender<Answer>,
}

impl Job {
    fn size(&self) -> usize {
        if let Work::Write(_, write) = &self.work { write.size() } else { 0 }
    }
}

enum Work {
    Open,
    Write(String, Write),
    Expire,
}

impl Commits {
    /// Nothing is opened before the first call.
    #[must_use]
    pub fn new(settings: &EmbeddedSettings) -> Rc<Self> {
        Rc::new(Self {
            settings: settings.clone(),
            jobs: RefCell::default(),
            bytes: Cell::new(0),
            running: Cell::new(false),
            writer: RefCell::default(),
            last: Cell::new(0),
            changed: Event::new(),
            scope: Scope::new(),
            expiring: Cell::new(false),
        })
    }

    /// Takes a call, in the order of these calls; the future gives its answer when what it changed is on disk.
    pub fn submit(self: &Rc<Self>, call: StoreCall) -> impl Future<Output = Answer> + use<> {
        let queued = match call {
            StoreCall::Wait { after } => Err(after),
            StoreCall::Open => Ok(self.queue(Work::Open)),
            StoreCall::Write { collection, write } => Ok(self.queue(Work::Write(collection, write))),
        };
        let commits = self.clone();
        async move {
            match queued {
                Ok(receiver) => receiver?.recv().await.unwrap_or(Err(StoreError::TimedOut)),
                Err(after) => commits.wait(after).await,
            }
        }
    }

    async fn wait(&self, after: u64) -> Answer {
        let changed = async {
            loop {
                let changed = self.changed.listen();
                if self.last.get() > after {
                    return;
                }
                changed.await;
            }
        };
        // That there was no change for so long is an answer.
        let _ = reactor::timeout(WAIT, changed).await;
        Ok(StoreAnswer::Changed(self.last.get()))
    }

    fn queue(self: &Rc<Self>, work: Work) -> Result<async_channel::Receiver<Answer>, StoreError> {
        let most = self.settings.options.max_queue as usize;
        if self.jobs.borrow().len() >= most {
            return Err(StoreError::Limit(format!("{most} writes wait already")));
        }
        if self.bytes.get() > MOST_BYTES {
            return Err(StoreError::Limit(format!("more than {MOST_BYTES} bytes of writes wait already")));
        }
        let (answer, receiver) = async_channel::bounded(1);
        let job = Job { work, answer };
        self.bytes.set(self.bytes.get() + job.size());
        self.jobs.borrow_mut().push_back(job);
        if !self.running.replace(true) {
            let commits = self.clone();
            reactor::spawn(async move { commits.run().await }).detach();
        }
        Ok(receiver)
    }

    /// Works until there is nothing to do.
    async fn run(self: Rc<Self>) {
        loop {
            let jobs: Vec<Job> = {
                let mut waiting = self.jobs.borrow_mut();
                let count = waiting.len().min(MOST);
                waiting.drain(..count).collect()
            };
            if jobs.is_empty() {
                self.running.set(false);
                return;
            }
            self.bytes.set(self.bytes.get() - jobs.iter().map(Job::size).sum::<usize>());
            self.round(jobs).await;
            self.expire_from_now_on();
        }
    }

    async fn round(&self, jobs: Vec<Job>) {
        let (work, askers): (Vec<Work>, Vec<_>) = jobs.into_iter().map(|job| (job.work, job.answer)).unzip();
        let (writer, settings) = (self.writer.take(), self.settings.clone());
        let (writer, answers, last) = blocking::unblock(move || round(writer, &settings, work)).await;
        self.writer.replace(writer);
        if let Some(last) = last
            && self.last.replace(last) != last
        {
            self.changed.notify(usize::MAX);
        }
        for (asker, answer) in askers.into_iter().zip(answers) {
            // Who asked may have gone.
            let _ = asker.try_send(answer);
        }
    }

    fn expire_from_now_on(self: &Rc<Self>) {
        if self.writer.borrow().is_none() || self.expiring.replace(true) {
            return;
        }
        let (commits, every) = (Rc::downgrade(self), self.settings.options.expire_every.get().max(Duration::from_millis(10)));
        self.scope.spawn(async move {
            loop {
                reactor::sleep(every).await;
                let Some(commits) = commits.upgrade() else { return };
                let Ok(done) = commits.queue(Work::Expire) else { continue };
                drop(commits);
                if let Ok(Err(error)) = done.recv().await {
                    log_error!("store: documents whose time is over cannot be removed: {error}");
                }
            }
        });
    }
}

type Round = (Option<Writer>, Vec<Answer>, Option<u64>);

/// Opens the file if need be and does everything; in the background.
fn round(writer: Option<Writer>, settings: &EmbeddedSettings, work: Vec<Work>) -> Round {
    let opened = writer.map_or_else(|| Writer::open(settings), Ok);
    let mut writer = match opened {
        Ok(writer) => writer,
        Err(error) => return (None, work.iter().map(|_| Err(error.clone())).collect(), None),
    };
    let mut writes = Vec::new();
    let mut places = Vec::with_capacity(work.len());
    for work in work {
        match work {
            Work::Open => places.push(Place::Answered(Ok(StoreAnswer::Done(true)))),
            Work::Expire => places.push(Place::Answered(writer.expire(now()).map(StoreAnswer::Deleted))),
            Work::Write(collection, write) => {
                writes.push((collection, write));
                places.push(Place::Written);
            }
        }
    }
    let mut written = match writer.commit(&writes) {
        Ok(answers) => answers,
        Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
    }
    .into_iter();
    let answer = |place| match place {
        Place::Answered(answer) => answer,
        // There is one for each write.
        Place::Written => written.next().unwrap_or(Err(StoreError::TimedOut)),
    };
    let answers = places.into_iter().map(answer).collect();
    let last = writer.last_change().ok();
    (Some(writer), answers, last)
}

/// Where the answer to a piece of work comes from.
enum Place {
    Answered(Answer),
    Written,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
