//! Several subscriptions of one page, read as one.

use std::task::{Context, Poll};

use super::positions;
use crate::events::{Delivery, Events, EventsError, Member, Options, Overflow, Pattern, Position, Subscription};
use crate::script::gauge::{Gauge, Permit};

use std::rc::Rc;

/// What a page wants of one topic or pattern.
pub(super) struct Wanted {
    pub(super) topic: String,
    /// The page was there and has seen everything up to this.
    pub(super) since: Option<Position>,
    pub(super) presence: Option<Member>,
}

/// How all of them are subscribed to.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) queue: usize,
    pub(super) overflow: Overflow,
    pub(super) watch: bool,
}

struct Topic {
    name: Rc<str>,
    /// None when it has ended.
    subscription: Option<Subscription>,
    /// What the page has seen.
    position: Option<Position>,
    /// A pattern cannot recover, so a page that comes back is told that it may have missed something.
    returns_to_pattern: bool,
    is_pattern: bool,
    ready: bool,
    _permit: Permit,
}

/// The subscriptions of one page. Each has a bounded queue of its own.
pub(super) struct Feed {
    topics: Vec<Topic>,
    /// Who is asked first, so that no topic keeps the others from being heard.
    next: usize,
}

impl Feed {
    /// Subscribes to everything that is wanted.
    pub(super) fn open(events: &Events, gauge: &Rc<Gauge>, wanted: Vec<Wanted>, how: How) -> Result<Feed, String> {
        let mut topics = Vec::with_capacity(wanted.len());
        for Wanted { topic, since, presence } in wanted {
            let permit = gauge.take().map_err(|exhausted| exhausted.to_string())?;
            let pattern = Pattern::parse(&topic).map_err(|bad| EventsError::Name(bad).to_string())?;
            let is_pattern = matches!(pattern, Pattern::Prefix(_));
            let How { queue, overflow, watch } = how;
            let options = Options {
                recover: since.filter(|_| !is_pattern),
                queue,
                overflow,
                presence: presence.filter(|_| !is_pattern),
                watch: watch && !is_pattern,
            };
            let subscription = events.subscribe(&topic, options).map_err(|error| error.to_string())?;
            topics.push(Topic {
                name: topic.into(),
                subscription: Some(subscription),
                position: since,
                returns_to_pattern: is_pattern && since.is_some(),
                is_pattern,
                ready: false,
                _permit: permit,
            });
        }
        Ok(Feed { topics, next: 0 })
    }

    /// What comes next, and to which subscription. Ready with nothing when all have ended.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Delivery)>> {
        let count = self.topics.len();
        let mut alive = false;
        for step in 0..count {
            let index = (self.next + step) % count;
            let topic = &mut self.topics[index];
            let Some(subscription) = &mut topic.subscription else { continue };
            match subscription.poll_delivery(cx) {
                Poll::Ready(Some(delivery)) => {
                    self.next = index + 1;
                    return Poll::Ready(Some((index, topic.note(delivery))));
                }
                Poll::Ready(None) => topic.subscription = None,
                Poll::Pending => alive = true,
            }
        }
        if alive { Poll::Pending } else { Poll::Ready(None) }
    }

    /// What waits already.
    pub(super) fn try_next(&mut self) -> Option<(usize, Delivery)> {
        for (index, topic) in self.topics.iter_mut().enumerate() {
            if let Some(delivery) = topic.subscription.as_mut().and_then(Subscription::try_next) {
                return Some((index, topic.note(delivery)));
            }
        }
        None
    }

    /// Whether the hub has said of every subscription that it holds, or that it does not.
    pub(super) fn is_ready(&self) -> bool {
        self.topics.iter().all(|topic| topic.ready)
    }

    /// Whether an event alone says how far the page has come.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.topics.as_slice(), [topic] if !topic.is_pattern)
    }

    /// What the subscription of this place is to.
    pub(super) fn name(&self, index: usize) -> &str {
        &self.topics[index].name
    }

    /// How far the page has come, as text.
    pub(super) fn positions(&self) -> String {
        let mut out = String::new();
        for topic in &self.topics {
            if let Some(position) = topic.position {
                if !out.is_empty() {
                    out.push(',');
                }
                positions::push(&mut out, &topic.name, position);
            }
        }
        out
    }
}

impl Topic {
    /// Keeps the books of what the page is about to be told.
    fn note(&mut self, mut delivery: Delivery) -> Delivery {
        match &mut delivery {
            Delivery::Ready { position, recovered } => {
                self.ready = true;
                if self.is_pattern {
                    self.position = Some(Position { epoch: 0, offset: 0 });
                    if self.returns_to_pattern {
                        *recovered = Some(false);
                    }
                } else if *recovered == Some(true) {
                    // What was recovered comes only now: until then the page has seen no more than before.
                    *position = self.position;
                } else {
                    self.position = *position;
                }
            }
            Delivery::Event(event) if !self.is_pattern => self.position = Some(event.position),
            Delivery::Gap { position: Some(position), .. } if !self.is_pattern => self.position = Some(*position),
            Delivery::Closed(_) => self.ready = true,
            _ => {}
        }
        delivery
    }
}
