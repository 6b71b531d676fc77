//! WebSocket connections in the hands of a script.
//!
//! | file | what it is |
//! |---|---|
//! | `taken` | upgrades of the application's clients, and running its handler on them |
//! | `handle` | a connection as scripts hold it |
//! | `feed` | events that go straight to a connection |

pub(super) mod feed;
pub(super) mod handle;
pub(super) mod taken;
