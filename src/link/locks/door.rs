//! How applications reach locks: those of this machine, or those of lock servers.

use std::rc::Rc;

use super::message::{Act, Name};
use super::parties::Hearer;

/// Where locks are.
pub trait Door {
    /// A new party to the lock of this name. What it hears goes to `hearer`.
    fn enter(&self, name: &Name, hearer: Rc<dyn Hearer>) -> Box<dyn Party>;

    /// A new party at every place where locks of this door may be: for lists.
    fn enter_everywhere(&self, hearer: Rc<dyn Hearer>) -> Vec<Box<dyn Party>>;
}

/// One party. Dropping it ends what it holds and waits for.
pub trait Party {
    /// Asks for something; what comes of it is heard. An ask that gets lost with a connection is answered with
    /// [`Said::Unavailable`](super::Said::Unavailable), and what was held is [`Said::Lost`](super::Said::Lost).
    fn ask(&self, act: Act);
}
