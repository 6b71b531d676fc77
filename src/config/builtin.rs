//! What is served when there is no configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::unistd::Uid;

use super::load::{Loaded, load};
use super::written::{App, Config, Server};
use crate::net::Address;
use crate::request::route::{Action, Host, Route};
use crate::script::config::{EMBEDDED_PREFIX, ScriptApp};
use crate::servers::http::config::Http;

/// The port of the built-in web server.
pub const DEFAULT_PORT: u16 = 8047;

/// The built-in applications by their names in the configuration, and where they are.
pub const DEFAULT_APPS: [(&str, &str); 2] = [("examples", "/"), ("chat", "/chat")];

impl Config {
    /// The built-in configuration: the examples on 127.0.0.1:8047 and the chat below them, in development mode. Every other option has its default.
    #[must_use]
    pub fn built_in() -> Self {
        let script = |name: &str| ScriptApp { path: PathBuf::from(format!("{EMBEDDED_PREFIX}{name}")), ..ScriptApp::default() };
        let route = |(name, path): (&str, &str)| Route::new(Host::Any, path, Action::App(name.to_owned()));
        let routes = DEFAULT_APPS.map(route).to_vec();
        let http = Http { listen: vec![Address::Tcp(([127, 0, 0, 1], DEFAULT_PORT).into())], routes, ..Http::default() };
        Self {
            dev: true,
            apps: DEFAULT_APPS.map(|(name, _)| (name.to_owned(), App::Script(script(name)))).into(),
            servers: BTreeMap::from([("web".to_owned(), Server::Http(http))]),
            ..Self::default()
        }
    }
}

/// Where the built-in configuration keeps `data` and `run` when the working directory cannot be written: a directory of this user's own
/// among the temporary files.
///
/// # Errors
/// There is something of that name that is not this user's, which somebody else may have put there.
pub fn temporary_base() -> Result<PathBuf, String> {
    let uid = Uid::effective();
    let path = std::env::temp_dir().join(format!("skep-{uid}"));
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(error) => Err(format!("cannot use {}: {error}", path.display())),
        Ok(metadata) if metadata.is_dir() && metadata.uid() == uid.as_raw() && metadata.mode() & 0o022 == 0 => Ok(path),
        Ok(_) => Err(format!("{} is not a directory that only this user can write", path.display())),
    }
}

/// Where a configuration is looked for when none is named: the working directory, then `/etc/skep`.
pub const USUAL_FILES: [&str; 2] = ["config.ron", "/etc/skep/config.ron"];

/// The configuration to use when none is named, if there is one.
#[must_use]
pub fn usual_file() -> Option<PathBuf> {
    USUAL_FILES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// The settings of [`Config::built_in`] with the working directory as their base.
///
/// # Errors
/// As [`load`]: the working directory cannot be written.
pub fn built_in() -> Result<Loaded, super::ConfigErrors> {
    load(None)
}
