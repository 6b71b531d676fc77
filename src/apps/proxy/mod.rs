//! A reverse proxy: requests go to other HTTP/1.1 servers, and their answers to the client.
//!
//! Nothing passes as it came: what goes out is written anew from the parsed request, and an answer that can be read in two ways is none (RFC 9112
//! §11). Bodies stream both ways, each side as fast as the other takes them. A server that fails is left alone for a while, and what can be repeated
//! is tried elsewhere.

mod answer;
mod app;
pub mod config;
mod dialing;
mod draining;
mod exchange;
mod fault;
mod forwarding;
mod group;
mod health;
mod outward;
mod probe;
mod tunnel;
mod upstream;

pub use app::ReverseProxy;
