//! An open file as a response: what is told of it, and which part of it is sent.

mod facts;
mod reply;

pub use facts::{Describer, Facts};
pub use reply::{Content, respond};
