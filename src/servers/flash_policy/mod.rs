//! The policy file that Flash asks for before it opens a socket, as the original serves it on port 843.
//!
//! The client sends `<policy-file-request/>` and a NUL byte; the answer is the file and a NUL byte, or `<error/>` and a NUL byte when there is
//! none, and the end of the connection.

pub mod config;

mod policy;
mod server;

pub use server::FlashPolicyServer;
