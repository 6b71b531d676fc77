//! RTEP and the policy of Flash: limits that make sense.

use std::path::PathBuf;

use super::Checker;
use crate::config::tree::Place;
use crate::servers::flash_policy::config::FlashPolicy;
use crate::servers::rtep::config::RtepServer;
use crate::units::{HumanDuration, HumanSize};

impl Checker<'_> {
    /// An RTEP server.
    pub(super) fn rtep_server(&mut self, place: &Place, server: RtepServer) -> RtepServer {
        for (name, count) in [("max_connections", server.max_connections), ("max_pending", server.max_pending)] {
            self.at_least(&place.name(name), count, 1);
        }
        self.within(&place.name("max_subscriptions"), server.max_subscriptions, 1, 100_000);
        self.within(&place.name("queue"), server.queue, 2, 1_000_000);
        self.within(&place.name("max_line"), server.max_line, HumanSize::bytes(256), HumanSize::mib(16));
        self.within(&place.name("queue_bytes"), server.queue_bytes, HumanSize::kib(16), HumanSize::mib(1024));
        for (name, span) in [("idle", server.idle), ("keepalive", server.keepalive)] {
            if let Some(span) = span {
                self.at_least(&place.name(name), span, HumanDuration::seconds(1));
            }
        }
        self.at_least(&place.name("stalled"), server.stalled, HumanDuration::milliseconds(100));
        let listen = self.addresses(place, server.listen);
        RtepServer { listen, ..server }
    }

    /// A server of Flash policies. The file may come later.
    pub(super) fn flash_policy(&mut self, place: &Place, server: FlashPolicy) -> FlashPolicy {
        self.at_least(&place.name("max_connections"), server.max_connections, 1);
        self.at_least(&place.name("timeout"), server.timeout, HumanDuration::milliseconds(10));
        let file: PathBuf = self.base.join(&server.file).components().collect();
        if !file.is_file() {
            self.warning(&place.name("file"), format!("there is no file {}: the answer is <error/> until there is", file.display()));
        }
        let listen = self.addresses(place, server.listen);
        FlashPolicy { listen, file, ..server }
    }
}
