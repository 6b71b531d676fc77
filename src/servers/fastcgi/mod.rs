//! The FastCGI server: a web server in front hands its requests on. The protocol is in docs/fastcgi.md.
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | its block in `config.ron` |
//! | `server` | the server in a worker: its connections, what it serves now, how it ends |
//! | `connection` | one connection: records in, records out |
//! | `requests` | the requests of a connection by their numbers |
//! | `incoming` | what a record means for the requests of a connection |
//! | `inbox` | the body of a request while it arrives |
//! | `stored_body` | a body that the front has stored in a file |
//! | `asked` | a request from its parameters |
//! | `exchange` | one request from its parameters to its end |
//! | `reply` | writing a response |
//! | `spool` | answers that go to the front as files |
//! | `folder` | where those lie, and what is left of workers that are gone |

mod asked;
pub mod config;
mod connection;
mod exchange;
mod folder;
mod inbox;
mod incoming;
mod reply;
mod requests;
mod server;
mod spool;
mod stored_body;

pub use server::FastCgiServer;

#[cfg(test)]
mod tests;
