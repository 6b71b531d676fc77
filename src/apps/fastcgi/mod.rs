//! Applications behind another FastCGI server, such as PHP-FPM: docs/cgi.md.
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | its block in `config.ron` |
//! | `upstream` | the application: from a request to its answer |
//! | [`address`] | where the server listens |
//! | `place` | which program a request is for |
//! | `pool` | connections, kept for the next request |
//! | `exchange` | one request on a connection |

pub mod address;
pub mod config;
mod exchange;
mod place;
mod pool;
mod upstream;

pub use upstream::Upstream;
