//! How requests are handed to a FastCGI server.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::ServerAddress;
use crate::apps::collected::Chunked;
use crate::net::Address;
use crate::units::{HumanDuration, HumanSize};

/// Programs behind a FastCGI server, such as PHP-FPM: docs/cgi.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "FastCgiUpstream", deny_unknown_fields, default)]
pub struct FastCgiUpstream {
    /// Where the server listens: `"unix:/run/php/php-fpm.sock"`, `"127.0.0.1:9000"`, `"php:9000"`. A name is looked up for each connection.
    pub address: ServerAddress,
    /// The directory of the programs as the server sees it, from the root of its file system.
    pub root: PathBuf,
    /// How the name of a program ends: what follows the first such name in a path is `PATH_INFO`.
    pub split: Vec<String>,
    /// The program that answers for a path that ends with a slash.
    pub index: String,
    /// The program that answers for every path in which no name ends as in `split`, such as `"index.php"`, with the path as `PATH_INFO`. None: 404.
    pub fallback: Option<String>,
    /// Parameters besides those of CGI, or in their place.
    pub parameters: BTreeMap<String, String>,
    /// Whether programs see the `Authorization` header of a request.
    pub authorization: bool,
    /// A request body of unknown length (chunked): handed on while it arrives, without CONTENT_LENGTH, or collected first.
    pub chunked: Chunked,
    /// Connections at the same time, in each worker.
    pub max_connections: u32,
    /// Requests that may wait for one of them. More: 503.
    pub queue: u32,
    /// How long they may wait. Longer: 503.
    pub queue_timeout: HumanDuration,
    /// How many connections are kept for the next request, in each worker. Each holds a process of a server that, like PHP-FPM, has one for each connection:
    /// those of all workers must be fewer than its `pm.max_children`, or requests wait for processes that do nothing.
    pub max_idle: u32,
    /// How long the server may take for what.
    pub timeouts: UpstreamTimeouts,
    /// The most bytes of an answer. None: any number.
    pub max_output: Option<HumanSize>,
    /// Directories of files that a program may have sent in the place of its own body, with the field `X-Sendfile`. An empty list: none.
    pub sendfile_roots: Vec<PathBuf>,
}

impl Default for FastCgiUpstream {
    fn default() -> Self {
        Self {
            address: ServerAddress::At(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)))),
            root: PathBuf::new(),
            split: vec![".php".to_owned()],
            index: "index.php".to_owned(),
            fallback: None,
            parameters: BTreeMap::new(),
            authorization: true,
            chunked: Chunked::Collect,
            max_connections: 16,
            queue: 64,
            queue_timeout: HumanDuration::seconds(10),
            max_idle: 0,
            timeouts: UpstreamTimeouts::default(),
            max_output: None,
            sendfile_roots: Vec::new(),
        }
    }
}

/// How long a FastCGI server may take. While it waits for the client its time does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTimeouts {
    /// To take a connection. Longer: 504.
    pub connect: HumanDuration,
    /// From the request to the header of the answer. Longer: 504.
    pub head: HumanDuration,
    /// Between two pieces of an answer. Longer: it breaks off.
    pub body: HumanDuration,
    /// How long a connection is kept for the next request.
    pub idle: HumanDuration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: HumanDuration::seconds(5),
            head: HumanDuration::seconds(60),
            body: HumanDuration::seconds(60),
            idle: HumanDuration::seconds(30),
        }
    }
}
