//! Named locks: what parties ask, what they are told, who holds what.
//!
//! | file | what it is |
//! |---|---|
//! | `name` | the names of locks |
//! | `message` | what goes between workers and the hub |
//! | `table` | who holds and who waits: a state machine without a clock, in the hub |
//! | `holding` | one lock of the table |
//! | `fast_path` | jobs that nobody else asks about, taken by workers without the hub |
//! | `parties` | the worker's side: what each of its parties holds, kept over a restart of the hub |
//! | `door` | how applications reach locks, here or on other machines |
//! | `right` | which instance grants |
//! | `config` | the limits |
//!
//! **Why nobody holds what somebody else believes to hold.** A worker knows what it has told its parties, and tells every new hub
//! ([`Claim`]). A new hub grants nothing until every worker that may have told a party something has either said so or ended, as the
//! master says, and until the leases of workers that ended have run out. A worker's parties lose what they hold only by their own act,
//! by time, or when the master has seen the worker end. Two grants of one name never have the same token, and the later has the larger.

pub mod config;
mod door;
mod fast_path;
mod holding;
mod message;
mod name;
mod parties;
mod right;
mod table;

pub use door::{Door, Party};
pub use fast_path::FastPath;
pub use message::{Act, Ask, Claim, Claimed, Hold, Listed, MAX_NAME, Mode, Name, PartyId, Said, Tell, Told, Want};
pub use parties::{Hearer, Parties, PartyHandle};
pub use right::Right;
pub use table::{Table, Worker};

#[cfg(test)]
mod tests;
