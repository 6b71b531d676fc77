//! Requests and replies, whatever brought them.
//!
//! A transport makes a [`Request`] and gives it to a [`Handler`]; the handler's [`Response`] goes back the same way. Neither side
//! knows what the other is, so every application works behind every transport.

pub mod access;
mod app;
mod body;
pub mod compression;
pub mod cookies;
pub mod errors;
pub mod file;
mod fixed;
pub mod form;
mod front;
pub mod headers;
pub mod limits;
mod onward;
mod recording;
pub mod registry;
pub mod replacing;
mod response;
pub mod route;
mod router;
mod site;
pub mod trusted;

pub use app::{Answer, App, Connection, Handler, StartError, Takeover, Upgraded};
pub use body::{Body, BodyError, BodySource};
pub use fixed::Standing;
pub use front::Common;
pub use onward::Onward;
pub use recording::Recording;
pub use response::{BodyStream, FileRange, Part, Response, ResponseBody, ResponseFields};
pub use site::{First, Routed, Site};

use std::fmt;
use std::rc::Rc;

use self::form::UploadLimits;
use crate::codec::http::RequestHead;
use crate::net::{ClientCertificate, Peer};

/// Where a request comes from: what all requests of one connection have in common, unless a trusted proxy says something else of each.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The client; behind a trusted proxy, the client that it names. Whatever goes by the client's address (rules, limits, logs) takes it from here.
    pub peer: Peer,
    /// The trusted proxy that has sent the request: `peer` is whom it names, or itself when it names nobody. `None`: whoever has connected is the client.
    pub proxy: Option<Box<Peer>>,
    /// Our address that the client reached.
    pub local: Peer,
    /// The connection is encrypted; behind a trusted proxy, the client's connection to it.
    pub secure: bool,
    /// The certificate that the client has shown to us.
    pub certificate: Option<Rc<ClientCertificate>>,
    /// The server's name in the configuration.
    pub server: Rc<str>,
    /// What a front told beside the request; nothing where the client itself is at the other end.
    pub parameters: Parameters,
}

impl Origin {
    /// A connection from `peer` to us, taken by this server; not encrypted, nothing known beside.
    #[must_use]
    pub fn new(peer: Peer, local: Peer, server: Rc<str>) -> Self {
        Self { peer, proxy: None, local, secure: false, certificate: None, server, parameters: Parameters::default() }
    }
}

/// Names and values that a front tells about a request, as CGI has them (RFC 3875 §4.1), in order.
#[derive(Clone, Default)]
pub struct Parameters(Option<Box<Told>>);

/// Elsewhere than with the request: few have any, and one that has become a connection is kept for long.
#[derive(Clone, Default)]
struct Told {
    names: String,
    values: Vec<u8>,
    /// Where each name and each value ends; the next begins there.
    ends: Vec<(u32, u32)>,
}

impl Parameters {
    /// Adds one. Both together stay far below 4 GiB: what a front may say is bounded.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let told = self.0.get_or_insert_default();
        told.names.push_str(name);
        told.values.extend_from_slice(value);
        told.ends.push((told.names.len() as u32, told.values.len() as u32));
    }

    /// The value of this name, the first one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().flat_map(|told| {
            let mut begin = (0, 0);
            told.ends.iter().map(move |&(name, value)| {
                let (from_name, from_value) = std::mem::replace(&mut begin, (name as usize, value as usize));
                (&told.names[from_name..name as usize], &told.values[from_value..value as usize])
            })
        })
    }
}

impl fmt::Debug for Parameters {
    /// Names only: cookies and credentials are among the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Names a request in logs and to applications: unique on this machine for as long as its master lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// One request. Its handler starts when the head is in; the body may still be arriving.
pub struct Request {
    /// The number of this request.
    pub id: RequestId,
    /// Method, target and fields.
    pub head: RequestHead,
    /// The body.
    pub body: Body,
    /// The connection it came by.
    pub origin: Rc<Origin>,
    /// How much of the head's path belongs to the route that led here: `/chat` of `/chat/lines`. Below a route of `/` it is 0.
    pub base_length: usize,
    /// What the server allows uploads in forms.
    pub uploads: Rc<UploadLimits>,
    /// Where the request may be sent on to without its client.
    pub onward: Onward,
    /// Who sent it, where the route asks for that and the password was right.
    pub user: Option<Rc<str>>,
}

impl Request {
    /// The route's own path, without a slash at its end; empty for the route `/`.
    #[must_use]
    pub fn base(&self) -> &str {
        self.head.path().get(..self.base_length).unwrap_or_default()
    }

    /// The path below the route, still percent-encoded. It begins with a slash, and is `/` for the route itself.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.head.path().get(self.base_length..) {
            Some("") | None => "/",
            Some(path) => path,
        }
    }
}
