//! How requests are passed on to other servers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clients::http::{Url, UrlError};
use crate::units::HumanDuration;

/// A reverse proxy: requests go to other HTTP/1.1 servers and their answers to the client, both as they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// The servers: `"http://host:port"`, `"https://host"`, `"unix:run/app.sock"`. A path behind it (`"http://host/base"`) goes before the path of every
    /// request. Names are looked up for each new connection.
    pub to: Vec<String>,
    /// Servers that are asked only while all of `to` are away.
    pub backup: Vec<String>,
    /// How much of the load a server gets, as it is written in `to` or `backup`. The others have 1.
    pub weights: BTreeMap<String, u32>,
    /// How the server of a request is chosen.
    pub balance: Balance,
    /// Whether the route's own path is taken off: `/api/users` of the route `/api` is asked for as `/users`.
    pub strip: bool,
    /// The Host field that servers see: `Keep`, the client's; `Upstream`, the server's own; `Name("example.com")`.
    pub host: HostField,
    /// Whether a Location field of an answer that names the server itself is made to name us.
    pub redirects: bool,
    /// Fields that tell servers of the certificate that the client has shown, by what they hold, such as `{"Client-Cert": Whole}`. What clients send
    /// under these names is dropped.
    pub client_certificate: BTreeMap<String, CertificatePart>,
    /// Directories of files that a server may have sent in the place of its own body, with the field `X-Sendfile`. An empty list: none.
    pub sendfile_roots: Vec<PathBuf>,
    /// A file with certificates in PEM to trust instead of the public ones, for `https`.
    pub authorities: Option<PathBuf>,
    /// Says to the server who the client is, before the first byte of each connection, which then serves one request only: `V1` or `V2` of the PROXY protocol.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Connections to each server, in each worker.
    pub connections: Connections,
    /// How long a server may take.
    pub timeouts: ProxyTimeouts,
    /// How many servers are tried for a request at most, if nothing of it is lost by that.
    pub tries: u32,
    /// When a server is left alone for a while.
    pub failures: Failures,
    /// How servers are asked whether they are well. None: they are not.
    pub check: Option<Check>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            to: Vec::new(),
            backup: Vec::new(),
            weights: BTreeMap::new(),
            balance: Balance::LeastConnections,
            strip: false,
            host: HostField::Keep,
            redirects: false,
            client_certificate: BTreeMap::new(),
            sendfile_roots: Vec::new(),
            authorities: None,
            proxy_protocol: None,
            connections: Connections::default(),
            timeouts: ProxyTimeouts::default(),
            tries: 3,
            failures: Failures::default(),
            check: None,
        }
    }
}

/// How the server of a request is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way, by its weight.
    LeastConnections,
    /// The same for the same client, as long as it is well. A server that comes or goes moves its own share only.
    Hash(HashKey),
}

/// What requests that go to the same server have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HashKey {
    /// The client's address.
    Client,
    /// A header field; without it the client's address.
    Header(String),
}

/// The Host field that servers see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostField {
    /// The one the client sent.
    Keep,
    /// The server's own, as it is written in `to`.
    Upstream,
    /// This one.
    Name(String),
}

/// What a field holds of the certificate that the client has shown. Without a certificate there is no such field, but for `Verified`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CertificatePart {
    /// All of it, as RFC 9440 writes it in `Client-Cert`: base64 between colons.
    Whole,
    /// `SUCCESS`, or `NONE` without a certificate.
    Verified,
    /// Whom it is for, as RFC 4514 writes it.
    Subject,
    /// The authority, in the same way.
    Issuer,
    /// The number that the authority gave it, in hexadecimal.
    Serial,
    /// SHA-256 of it, in hexadecimal.
    Fingerprint,
    /// The names it is for, between commas.
    Names,
}

/// The version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Connections to each server, in each worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// Requests under way at the same time, and so connections.
    pub max: u32,
    /// Connections that are kept without a request.
    pub idle: u32,
    /// How long they are kept.
    pub idle_time: HumanDuration,
    /// How old a connection becomes. None: any age.
    pub age: Option<HumanDuration>,
    /// Requests that may wait while every server has as many as it may. More: 503.
    pub queue: u32,
    /// How long they wait. Longer: 503.
    pub queue_time: HumanDuration,
}

impl Default for Connections {
    fn default() -> Self {
        Self { max: 256, idle: 32, idle_time: HumanDuration::seconds(50), age: None, queue: 1000, queue_time: HumanDuration::seconds(5) }
    }
}

/// How long a server may take. Longer: 504, or the transfer breaks off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyTimeouts {
    /// For a connection, the look-up of its name and TLS included.
    pub connect: HumanDuration,
    /// From the end of a request to the end of the answer's head.
    pub answer: HumanDuration,
    /// While it takes nothing of a request, and between two pieces of an answer.
    pub between: HumanDuration,
    /// While nothing goes either way of a WebSocket connection, and in a stream of events.
    pub tunnel: HumanDuration,
}

impl Default for ProxyTimeouts {
    fn default() -> Self {
        Self {
            connect: HumanDuration::seconds(5),
            answer: HumanDuration::seconds(60),
            between: HumanDuration::seconds(60),
            tunnel: HumanDuration::seconds(3600),
        }
    }
}

/// When a server is left alone for a while. If all are, the one that is back first is asked all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Failures {
    /// Failures one after the other: no connection, no answer in time, an answer that is none.
    pub count: u32,
    /// How long it is left alone at first; doubled each time it then fails again.
    pub away: HumanDuration,
    /// And at most.
    pub longest: HumanDuration,
}

impl Default for Failures {
    fn default() -> Self {
        Self { count: 3, away: HumanDuration::seconds(5), longest: HumanDuration::seconds(60) }
    }
}

/// How servers are asked whether they are well, by each worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// What is asked for, with GET.
    pub path: String,
    /// How often.
    pub interval: HumanDuration,
    /// How long the answer may take.
    pub timeout: HumanDuration,
    /// The statuses of a server that is well. An empty list: 200 to 399.
    pub status: Vec<u16>,
}

impl Default for Check {
    fn default() -> Self {
        Self { path: "/".to_owned(), interval: HumanDuration::seconds(5), timeout: HumanDuration::seconds(2), status: Vec::new() }
    }
}

impl Proxy {
    /// Changes every path of a file, directory or socket.
    pub fn paths(&mut self, change: impl Fn(&mut PathBuf)) {
        self.sendfile_roots.iter_mut().for_each(&change);
        if let Some(path) = &mut self.authorities {
            change(path);
        }
        for text in self.to.iter_mut().chain(&mut self.backup) {
            if let Some(path) = text.strip_prefix("unix:") {
                let mut path = PathBuf::from(path);
                change(&mut path);
                let weight = self.weights.remove(text);
                *text = format!("unix:{}", path.display());
                self.weights.extend(weight.map(|weight| (text.clone(), weight)));
            }
        }
    }

    /// Reads one of `to` and `backup`. A socket has an absolute path by then.
    ///
    /// # Errors
    /// It is no address of a server.
    pub fn url(text: &str) -> Result<Url, UrlError> {
        match text.strip_prefix("unix:") {
            Some(path) => Url::parse(&format!("http://unix:{path}:/")),
            None => Url::parse(text),
        }
    }
}
