//! Locks: limits that make sense.

use super::Checker;
use crate::config::tree::Place;
use crate::link::locks::config::Limits;
use crate::servers::lock::config::LockServer;
use crate::units::{HumanDuration, HumanSize};

impl Checker<'_> {
    /// The bounds of locks.
    pub(super) fn locks(&mut self, limits: Limits) -> Limits {
        let place = Place::top().name("locks");
        for (name, count) in [("names", limits.names), ("waiters", limits.waiters), ("each", limits.each)] {
            self.within(&place.name(name), count, 1, 10_000_000);
        }
        self.within(
            &place.name("longest_lease"),
            limits.longest_lease,
            HumanDuration::milliseconds(100),
            HumanDuration::seconds(24 * 3600),
        );
        self.within(&place.name("longest_wait"), limits.longest_wait, HumanDuration::milliseconds(100), HumanDuration::seconds(24 * 3600));
        limits
    }

    /// A lock server.
    pub(super) fn lock_server(&mut self, place: &Place, server: LockServer) -> LockServer {
        self.at_least(&place.name("max_connections"), server.max_connections, 1);
        for (name, span) in [("idle", server.idle), ("keepalive", server.keepalive)] {
            if let Some(span) = span {
                self.at_least(&place.name(name), span, HumanDuration::seconds(1));
            }
        }
        self.within(&place.name("backlog"), server.backlog, HumanSize::kib(16), HumanSize::mib(64));
        let listen = self.addresses(place, server.listen);
        LockServer { listen, ..server }
    }
}
