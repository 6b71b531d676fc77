//! The Luau runtime and its modules.
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | an application as `config.ron` has it |
//! | [`app`] | an application: loaded once a worker, answering requests |
//! | [`services`] | what it gets from the process it runs in |
//! | [`context`] | what its modules know of it |
//! | `request`, `form`, `upload`, `queue` | the request as a script sees it |
//! | `call`, `reply`, `file_reply`, [`error_page`] | running a handler, and what comes out of it |
//! | `task` | tasks and timers |
//! | `iteration` | what loops over lines, chunks and events call |
//! | `websocket` | WebSocket connections |
//! | `connection`, `dial` | connections as scripts hold them, and making them |
//! | [`vm`] | one VM: sealed globals, compiled code |
//! | [`limits`], [`gauge`] | what one application may use, and uses |
//! | [`step`] | one uninterrupted run, and the watchdog that ends it |
//! | [`source`], `require` | where the files of an application come from, and how they find each other |
//! | [`embedded`] | the applications inside the binary |
//! | [`fault`] | an error with its place, trace and source lines |
//! | `live` | events for browsers: event streams, long polling, the client for pages |
//! | [`modules`] | what `require("@skep/…")` gives |

pub mod app;
mod arguments;
mod call;
pub mod config;
mod connection;
pub mod context;
mod dial;
pub mod embedded;
pub mod error_page;
pub mod fault;
mod feed;
mod file_reply;
mod form;
pub mod gauge;
mod iteration;
pub mod lifetime;
mod limits;
mod live;
pub mod modules;
mod passage;
mod queue;
mod reply;
mod request;
mod require;
pub mod services;
pub mod source;
pub mod step;
mod task;
mod upload;
pub mod vm;
mod websocket;

pub use app::{ScriptApp, ScriptError};
pub use context::Mode;
pub use limits::Limits;
pub use services::{LockDoors, Services};
pub use source::Source;
