//! `config.ron` as written: what serde reads. The comments here are the manual (`skep config schema`, docs/reference/config.md).

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::apps::cgi::config::Cgi;
use crate::apps::fastcgi::config::FastCgiUpstream;
use crate::apps::files::config::Files;
use crate::apps::proxy::config::Proxy;
use crate::clients::lock::config::LockClient;
use crate::clients::redis::config::Redis;
use crate::clients::rtep::config::RtepClient;
pub use crate::events::config::Events;
use crate::limiter::config::LimiterTable;
use crate::link::locks::config::Limits as LockLimits;
use crate::net::Address;
use crate::net::tls_files::TlsFiles;
use crate::request::access::Auth;
use crate::request::errors::ErrorPage;
use crate::request::route::Route;
use crate::script::config::ScriptApp;
use crate::secret::Secret;
use crate::servers::fastcgi::config::FastCgi;
use crate::servers::flash_policy::config::FlashPolicy;
use crate::servers::http::config::Http;
use crate::servers::lock::config::LockServer;
use crate::servers::rtep::config::RtepServer;
use crate::servers::script::config::ScriptServer;
use crate::store::config::EmbeddedStore;
use crate::telemetry::config::{AccessLog, Log};
use crate::units::{HumanDuration, HumanSize};

/// The whole file. Every block is optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The user that workers run as, by name or number. None: the user who starts skep. Needs root.
    pub user: Option<String>,
    /// The group that workers run as, by name or number. None: the user's own group. Needs root.
    pub group: Option<String>,
    /// The directory that is made the root of the workers' file system. Needs root.
    pub chroot: Option<PathBuf>,
    /// The working directory of the workers (inside `chroot`, when that is set). None: the one skep is started in, or `/` in a chroot.
    pub cwd: Option<PathBuf>,
    /// The directory for what must be kept: the store, uploads while they last.
    pub data: PathBuf,
    /// The directory for what lives as long as the server: pid file, control socket.
    pub run: PathBuf,
    /// The file with the master's process id. None: `skep.pid` in `run`.
    pub pid_file: Option<PathBuf>,
    /// Whether a saved configuration or application takes effect by itself.
    pub auto_reload: bool,
    /// Development: the browser shows errors with source lines, and a saved file is live on the next request.
    pub dev: bool,
    /// The log of the server and of the applications.
    pub log: Log,
    /// The log of requests. None: no such log.
    pub access_log: Option<AccessLog>,
    /// How many workers there are, and how long they live.
    pub workers: Workers,
    /// How long a key seals the sessions of TLS clients, in all servers; sessions can be resumed for as long again, and no longer.
    pub session_keys: HumanDuration,
    /// The admin listener.
    pub admin: Admin,
    /// The cache that all workers share.
    pub cache: Cache,
    /// Where documents are kept.
    pub store: Store,
    /// What carries events between workers.
    pub events: Events,
    /// Bounds of the locks of this machine.
    pub locks: LockLimits,
    /// Where limits by address are counted.
    pub limiter: LimiterTable,
    /// Connections to other servers, by a name of your choice.
    pub clients: BTreeMap<String, Client>,
    /// Applications, by a name of your choice.
    pub apps: BTreeMap<String, App>,
    /// Servers, by a name of your choice.
    pub servers: BTreeMap<String, Server>,
    /// More files, whose `clients`, `apps` and `servers` are added to those here: `["conf.d/*.ron"]`. A `*` stands for any part of a file's name.
    pub include: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            user: None,
            group: None,
            chroot: None,
            cwd: None,
            data: PathBuf::from("data"),
            run: PathBuf::from("run"),
            pid_file: None,
            auto_reload: true,
            dev: false,
            log: Log::default(),
            access_log: None,
            workers: Workers::default(),
            session_keys: HumanDuration::seconds(12 * 60 * 60),
            admin: Admin::default(),
            cache: Cache::default(),
            store: Store::default(),
            events: Events::default(),
            locks: LockLimits::default(),
            limiter: LimiterTable::default(),
            clients: BTreeMap::new(),
            apps: BTreeMap::new(),
            servers: BTreeMap::new(),
            include: Vec::new(),
        }
    }
}

/// An included file: only the maps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename = "Config", deny_unknown_fields, default)]
pub struct Included {
    /// As in [`Config`].
    pub clients: BTreeMap<String, Client>,
    /// As in [`Config`].
    pub apps: BTreeMap<String, App>,
    /// As in [`Config`].
    pub servers: BTreeMap<String, Server>,
}

/// How many workers there are, and how long they live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// Workers at the start.
    pub start: u32,
    /// The fewest workers.
    pub min: u32,
    /// The most workers that take connections.
    pub max: u32,
    /// The fewest idle workers: with fewer, more are started.
    pub min_spare: u32,
    /// The most idle workers: with more, some are ended.
    pub max_spare: u32,
    /// The most worker processes of all kinds, those that are ending included.
    pub max_total: u32,
    /// A worker is replaced after this many requests. None: never.
    pub max_requests: Option<u64>,
    /// A worker is replaced when it has this much memory in use. None: never.
    pub max_memory: Option<HumanSize>,
    /// A worker is replaced when it had nothing to do for this long. None: never.
    pub max_idle: Option<HumanDuration>,
    /// A worker is replaced when it is this old. None: never.
    pub max_age: Option<HumanDuration>,
    /// How long a worker that ends may take for the requests it has.
    pub drain: HumanDuration,
    /// How often the number of workers is looked at.
    pub mpm_delay: HumanDuration,
    /// How the number of workers is found: `Default`, by the share of busy ones, or `Script("mpm.luau")`, a function of your own.
    pub mpm: Mpm,
    /// A worker that does not come back to its event loop for this long is reported, killed and replaced.
    pub heartbeat: HumanDuration,
    /// How long to wait before a worker that crashed is replaced.
    pub backoff: Backoff,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            start: 2,
            min: 1,
            max: 8,
            min_spare: 1,
            max_spare: 4,
            max_total: 32,
            max_requests: Some(1_000_000),
            max_memory: Some(HumanSize::mib(512)),
            max_idle: None,
            max_age: None,
            drain: HumanDuration::seconds(30),
            mpm_delay: HumanDuration::seconds(1),
            mpm: Mpm::default(),
            heartbeat: HumanDuration::seconds(10),
            backoff: Backoff::default(),
        }
    }
}

/// How the number of workers is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mpm {
    /// By the share of busy workers.
    #[default]
    Default,
    /// By a Luau file that returns a function from the state to the number wanted.
    Script(PathBuf),
}

/// How long to wait before a worker that crashed is replaced: the first time `shortest`, doubled with every crash up to `longest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The first wait.
    pub shortest: HumanDuration,
    /// The longest wait.
    pub longest: HumanDuration,
    /// A worker that lived this long is no crash of a loop: the next wait is the shortest again.
    pub reset: HumanDuration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { shortest: HumanDuration::milliseconds(100), longest: HumanDuration::seconds(30), reset: HumanDuration::seconds(60) }
    }
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Addresses to listen on. An empty list: no admin listener.
    pub listen: Vec<Address>,
    /// The token that requests must carry (`Authorization: Bearer …`), at least 16 characters, best as `"${SKEP_ADMIN_TOKEN}"`.
    /// None: one is made at the first start and kept in the data directory.
    pub token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: vec![Address::Tcp(([127, 0, 0, 1], 8048).into())], token: None }
    }
}

/// The cache that all workers share. It lives in memory and is empty after a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Memory for all entries together. When it is full, what was not used for longest goes.
    pub memory: HumanSize,
    /// The largest value that is taken.
    pub max_value: HumanSize,
}

impl Default for Cache {
    fn default() -> Self {
        Self { memory: HumanSize::mib(64), max_value: HumanSize::mib(1) }
    }
}

/// The limits of the cache in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// For all entries together.
    pub memory: usize,
    /// For one value.
    pub value: usize,
}

impl Cache {
    /// In bytes.
    #[must_use]
    pub fn limits(&self) -> CacheLimits {
        let bytes = |size: HumanSize| usize::try_from(*size).unwrap_or(usize::MAX);
        CacheLimits { memory: bytes(self.memory), value: bytes(self.max_value) }
    }
}

/// Where documents are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Store {
    /// In a file of this machine.
    Embedded(EmbeddedStore),
}

impl Default for Store {
    fn default() -> Self {
        Self::Embedded(EmbeddedStore::default())
    }
}

/// A connection to another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Client {
    /// Lock servers.
    Lock(LockClient),
    /// An RTEP server.
    Rtep(RtepClient),
    /// A Redis server.
    Redis(Redis),
}

/// An application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum App {
    /// A Luau application.
    Script(ScriptApp),
    /// CGI programs of a directory.
    Cgi(Cgi),
    /// Programs behind a FastCGI server.
    FastCgiUpstream(FastCgiUpstream),
    /// Files of a directory.
    Files(Files),
    /// Other HTTP servers.
    Proxy(Box<Proxy>),
    /// An application in Rust that this binary was built with.
    Native(NativeApp),
}

/// An application in Rust, of a kind that a program registered with `skep::register`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NativeApp {
    /// The name the kind was registered under.
    pub kind: String,
    /// What the application is started with; its own documentation says what it understands.
    pub config: serde_json::Value,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Server {
    /// FastCGI behind a web server, routed to applications.
    FastCgi(FastCgi),
    /// The policy file that Flash asks for.
    FlashPolicy(FlashPolicy),
    /// HTTP, routed to applications.
    Http(Http),
    /// Locks for programs on this and other machines.
    Lock(LockServer),
    /// Events for programs on this and other machines.
    Rtep(RtepServer),
    /// Raw connections for the `connection` handler of a Luau application.
    Script(ScriptServer),
}

impl App {
    /// The kind's name, as it is written.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Script(_) => "Script",
            Self::Cgi(_) => "Cgi",
            Self::FastCgiUpstream(_) => "FastCgiUpstream",
            Self::Files(_) => "Files",
            Self::Proxy(_) => "Proxy",
            Self::Native(_) => "Native",
        }
    }
}

impl Server {
    /// The kind's name, as it is written.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "Http",
            Self::FastCgi(_) => "FastCgi",
            Self::FlashPolicy(_) => "FlashPolicy",
            Self::Lock(_) => "Lock",
            Self::Rtep(_) => "Rtep",
            Self::Script(_) => "Script",
        }
    }

    /// What it speaks above TLS, by the names of RFC 7301; nothing: it does not say.
    #[must_use]
    pub fn protocols(&self) -> &'static [&'static str] {
        match self {
            Self::Http(http) if http.http2.enabled => &["h2", "http/1.1"],
            Self::Http(_) => &["http/1.1"],
            _ => &[],
        }
    }

    /// Where its certificates are, when it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFiles> {
        match self {
            Self::Http(http) => http.tls.as_ref(),
            Self::Script(script) => script.tls.as_ref(),
            Self::FastCgi(_) | Self::FlashPolicy(_) | Self::Lock(_) | Self::Rtep(_) => None,
        }
    }

    /// What it serves, when it serves requests.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        match self {
            Self::Http(http) => &http.routes,
            Self::FastCgi(fastcgi) => &fastcgi.routes,
            Self::FlashPolicy(_) | Self::Lock(_) | Self::Rtep(_) | Self::Script(_) => &[],
        }
    }

    /// The files of users that its routes name.
    pub fn users(&self) -> impl Iterator<Item = &PathBuf> {
        self.routes().iter().filter_map(|route| route.access.as_ref()?.auth.as_ref().map(Auth::users))
    }

    /// The files of error pages that it and its routes name.
    pub fn pages(&self) -> impl Iterator<Item = &PathBuf> {
        let own: &[ErrorPage] = match self {
            Self::Http(http) => &http.errors,
            Self::FastCgi(fastcgi) => &fastcgi.errors,
            Self::FlashPolicy(_) | Self::Lock(_) | Self::Rtep(_) | Self::Script(_) => &[],
        };
        own.iter().chain(self.routes().iter().flat_map(|route| &route.errors)).filter_map(|page| page.file.as_ref())
    }

    /// The addresses it listens on.
    #[must_use]
    pub fn listen(&self) -> &[Address] {
        match self {
            Self::Http(http) => &http.listen,
            Self::FastCgi(fastcgi) => &fastcgi.listen,
            Self::FlashPolicy(policy) => &policy.listen,
            Self::Lock(lock) => &lock.listen,
            Self::Rtep(rtep) => &rtep.listen,
            Self::Script(script) => &script.listen,
        }
    }
}
