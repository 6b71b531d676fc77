//! `config.ron` as written, then as checked.
//!
//! [`load`] reads a file and those it includes, fills in values from outside, and gives [`Settings`] that work, or [`ConfigErrors`] with
//! the place of everything that is wrong. It changes nothing on the machine.

mod builtin;
mod changes;
mod check;
mod choice;
mod lexer;
mod load;
mod ordered;
mod parse;
mod probe;
mod problem;
mod schema;
pub mod settings;
mod source;
mod substitute;
mod test;
mod tree;
mod watch;
pub mod written;

pub use builtin::{DEFAULT_APPS, DEFAULT_PORT, USUAL_FILES, built_in, usual_file};
pub use changes::{Changes, diff, keep_what_needs_a_restart};
pub use load::{Loaded, load, load_with};
pub use parse::dialect;
pub use probe::{holder, probe, probe_listeners};
pub use problem::{ConfigErrors, Excerpt, Problem, Severity, colours_on_stderr, plain_reason};
pub use schema::{initial_text, schema, schema_text};
pub use settings::{ADMIN, Settings, Store};
pub use test::{Report, configtest};
pub use watch::Watch;
pub use written::{Admin, App, Backoff, Cache, CacheLimits, Client, Config, Events, Mpm, Server, Workers};
