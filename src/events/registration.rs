//! A subscriber's membership in a group.

use std::rc::{Rc, Weak};

use super::group::{Entry, Group};
use super::{Events, EventsError, check_member, topic_of};
use crate::link::events::{EventsToHub, Member, Pattern, Position};

/// A subscriber's membership in a group. Dropping it ends the subscription; a presence that came with it ends a moment later, so that
/// one who comes back soon was never away.
pub struct Registration {
    pub(super) events: Weak<Events>,
    pub(super) group: Rc<Group>,
    pub(super) entry: Rc<Entry>,
}

impl Registration {
    /// What is subscribed to.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.group.pattern
    }

    /// The last event of the topic that came to this worker, of a subscription to one topic.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.group.last.get()
    }

    /// Counts events that the subscriber, which has a queue of its own, had to drop.
    pub fn count_dropped(&self, count: u64) {
        if let Some(events) = self.events.upgrade() {
            events.count_dropped(count);
        }
    }

    /// The subscriber is present as this member from now on.
    ///
    /// # Errors
    /// [`EventsError::Member`], [`EventsError::NotOne`].
    pub fn enter(&self, member: Member) -> Result<(), EventsError> {
        check_member(&member)?;
        let Pattern::Exact(topic) = &self.group.pattern else { return Err(EventsError::NotOne) };
        if let Some(events) = self.events.upgrade() {
            self.entry.member.replace(Some(Box::new(member.clone())));
            let (ticket, client) = (events.asked.next(), self.entry.client);
            events.tell(EventsToHub::Enter { ticket, topic: topic.clone(), client, member, again: false });
        }
        Ok(())
    }

    /// The subscriber is not present any more.
    pub fn leave(&self) {
        if let Some(events) = self.events.upgrade()
            && self.entry.member.take().is_some()
        {
            events.tell(EventsToHub::Leave { topic: topic_of(&self.group.pattern), client: self.entry.client, softly: false });
        }
    }

    /// Ends the subscription and, at once, the presence that came with it.
    pub fn close(self) {
        self.end(false);
    }

    fn end(&self, softly: bool) {
        if let Some(events) = self.events.upgrade() {
            events.end(&self.group, &self.entry, softly);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.end(true);
    }
}
