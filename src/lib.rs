//! skep: servers, clients, a Luau application runtime and an admin panel, run by one master and its workers.
//!
//! The map, from the outside in (ARCHITECTURE.md draws it; `tests/tidy` enforces who may import whom):
//!
//! | room | what it is |
//! |---|---|
//! | [`cli`] | the commands of the binary, one file each |
//! | [`config`] | `config.ron` as written, then as checked |
//! | [`master`] | the one process that binds, forks, supervises; it serves nobody |
//! | [`hub`] | the one process for what must exist once |
//! | [`worker`] | the process that accepts, parses and runs applications |
//! | [`link`], [`process`] | what processes say to each other |
//! | [`process`] | the vocabulary between the master and its children |
//! | [`servers`] | protocols that take connections |
//! | [`apps`] | what answers requests: files, scripts, your own |
//! | [`script`] | the Luau runtime and its modules |
//! | [`clients`] | protocols that we speak to others |
//! | [`events`] | topics, publications, subscriptions, presence |
//! | [`request`] | requests and replies, whatever brought them |
//! | [`store`] | documents: filters, updates, indexes, following changes |
//! | [`websocket`] | WebSocket connections, either end |
//! | [`program`] | programs that were started, with what they start |
//! | [`codec`] | bytes in, events out: no socket, no clock |
//! | [`net`] | addresses, listeners, streams |
//! | [`reactor`] | the event loop: readiness, timers, tasks |
//! | [`scoreboard`] | what every process shows of itself, in shared memory |
//! | [`limiter`] | what each address asks for, counted by all processes together, in shared memory |
//! | [`telemetry`] | logs |
//! | [`units`], [`secret`] | durations, sizes, rates and secrets as the configuration writes them |
//! | [`sys`] | the few places that need `unsafe`: fork, privileges, shared memory, descriptors |

#![deny(unsafe_op_in_unsafe_fn)]

pub mod apps;
pub mod cli;
pub mod clients;
pub mod codec;
pub mod config;
pub mod events;
pub mod hub;
pub mod limiter;
pub mod link;
pub mod master;
pub mod net;
pub mod process;
pub mod program;
pub mod reactor;
pub mod request;
pub mod rtep;
pub mod scoreboard;
pub mod script;
pub mod secret;
pub mod servers;
pub mod store;
pub mod sys;
pub mod telemetry;
pub mod units;
pub mod websocket;
pub mod worker;

pub use cli::main;
pub use request::registry::register;
pub use request::{Answer, App, Body, Connection, Handler, Request, Response, ResponseBody, StartError};
