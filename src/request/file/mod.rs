//! Files: directories that nothing leads out of, and an open file as a response: what is told of it, and which part of it is sent.

mod facts;
mod reply;
mod root;
mod roots;
mod sent;

pub use facts::{Describer, Facts};
pub use reply::{Content, in_place_of_body, respond};
pub use root::{Refusal, Root};
pub use roots::{Roots, Unopened};
pub use sent::{SentFiles, X_SENDFILE};
