//! The one process that binds, forks and supervises; it serves nobody and runs no executor.
//!
//! | file | what it is |
//! |---|---|
//! | `instance` | the master itself: what it holds, and its loop |
//! | `starting` | from settings to a bound, forked instance |
//! | `spawning`, `child`, `policy` | forking, and the first steps of the forked |
//! | `messages`, `exits` | what children say, and how they end |
//! | `supervision`, `backoff`, `recycling`, `mpm` | the decisions, as pure functions |
//! | `rounds` | what is looked at every second |
//! | `commands`, `control` | what people and signals ask for |
//! | `reload`, `update`, `upgrade`, `stopping` | the long answers |
//! | `listeners`, `pid_file`, `admin_token`, `systemd` | the outside world |

mod admin_token;
mod backoff;
mod certificates;
mod child;
mod commands;
mod control;
mod exits;
mod instance;
mod listeners;
mod messages;
mod mpm;
mod pid_file;
mod policy;
mod recycling;
mod reload;
mod rounds;
mod spawning;
mod starting;
mod stopping;
mod supervision;
mod systemd;
mod update;
mod upgrade;

pub use pid_file::PidFile;
pub use starting::{Options, Report, Started, run};
pub use upgrade::is_takeover;
