//! The store: its file and its limits.

use std::path::Path;
use std::time::Duration;

use super::Checker;
use crate::config::settings::Store;
use crate::config::tree::Place;
use crate::config::written;
use crate::store::EmbeddedSettings;
use crate::store::config::EmbeddedStore;

/// What two processes say to each other at once is less than 16 MiB, and a document has to fit.
const MAX_DOCUMENT: u64 = 8 << 20;

impl Checker<'_> {
    pub(super) fn store(&mut self, store: written::Store, data: &Path) -> Store {
        let written::Store::Embedded(mut options) = store;
        let place = Place::top().name("store");
        let path = match options.path.take() {
            Some(path) => self.file_to_keep(&place.name("path"), &path),
            None => data.join("store.db"),
        };
        self.store_limits(&place, &options);
        Store::Embedded(EmbeddedSettings { path, options })
    }

    fn store_limits(&mut self, place: &Place, options: &EmbeddedStore) {
        self.within(&place.name("max_document"), options.max_document.get(), 1 << 10, MAX_DOCUMENT);
        self.at_least(&place.name("max_result"), options.max_result.get(), options.max_document.get());
        self.at_least(&place.name("max_collections"), options.max_collections, 1);
        self.at_least(&place.name("max_queue"), options.max_queue, 1);
        let shortest = Duration::from_millis(10);
        for (name, duration) in [("timeout", options.timeout), ("expire_every", options.expire_every)] {
            if duration.get() < shortest {
                self.error(&place.name(name), "too short: at least 10ms");
            }
        }
    }
}
