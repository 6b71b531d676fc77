//! CGI programs of a directory (RFC 3875): docs/cgi.md.
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | its block in `config.ron` |
//! | `folder` | the application: from a request to its answer |
//! | `place` | which file a request is for |
//! | `overrides` | what a front may say about a program |
//! | `running` | a program at work: input, output, time, end |
//! | `errors` | what it says on its standard error |

pub mod config;
mod errors;
mod folder;
mod overrides;
mod place;
mod running;

pub use folder::CgiFolder;
