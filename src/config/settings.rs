//! The configuration as checked: what the rest of the program works with.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ordered;
use super::written::{Admin, App, Cache, Client, Events, Server, Workers};
use crate::limiter::config::LimiterTable;
use crate::link::locks::config::Limits as LockLimits;
use crate::net::acme::Acme;
use crate::net::tls_files::TlsFiles;
use crate::net::tls_server::{Identity, Limits};
use crate::net::{Address, Certificate, TlsServer};
use crate::secret::Secret;
use crate::store::EmbeddedSettings;
use crate::telemetry::config::{AccessLog, Log, LogFile};
use crate::units::HumanDuration;

/// The configuration as checked. Every path is absolute, every route names an application that exists, every limit makes sense.
///
/// The master sends it to its workers as JSON, secrets included; `Debug` hides them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The file it came from. None: the built-in defaults.
    pub file: Option<PathBuf>,
    /// The directory that relative paths were relative to.
    pub base: PathBuf,
    /// The user that workers run as, by name or number; it exists.
    pub user: Option<String>,
    /// The group that workers run as, by name or number; it exists.
    pub group: Option<String>,
    /// The root directory of the workers.
    pub chroot: Option<PathBuf>,
    /// The working directory of the workers, as seen inside the chroot.
    pub cwd: Option<PathBuf>,
    /// The directory for what must be kept.
    pub data: PathBuf,
    /// The directory for what lives as long as the server.
    pub run: PathBuf,
    /// The file with the master's process id.
    pub pid_file: PathBuf,
    /// Whether a saved configuration or application takes effect by itself.
    pub auto_reload: bool,
    /// Development mode.
    pub dev: bool,
    /// The log.
    pub log: Log,
    /// The log of requests.
    pub access_log: Option<AccessLog>,
    /// How many workers there are, and how long they live.
    pub workers: Workers,
    /// How long a key of TLS sessions is used.
    pub session_keys: HumanDuration,
    /// The admin listener.
    pub admin: Admin,
    /// The cache that all workers share.
    pub cache: Cache,
    /// Where documents are kept.
    pub store: Store,
    /// What carries events between workers.
    pub events: Events,
    /// Bounds of locks.
    pub locks: LockLimits,
    /// Where limits by address are counted.
    pub limiter: LimiterTable,
    /// Connections to other servers, by name.
    pub clients: BTreeMap<String, Client>,
    /// Applications, by name.
    pub apps: BTreeMap<String, App>,
    /// Servers, by name.
    pub servers: BTreeMap<String, Server>,
    /// Certificates, keys, files of users and error pages by file, as they were when the configuration was read: before privileges were dropped.
    pub secrets: BTreeMap<PathBuf, Secret>,
}

/// Where documents are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Store {
    /// In a file of this machine, made when it does not exist.
    Embedded(EmbeddedSettings),
}

/// What stands for the admin listener where a server's name is expected; no server may be called so.
pub const ADMIN: &str = "admin";

impl Settings {
    /// The TLS side of a server whose certificates are in `files`.
    ///
    /// # Errors
    /// When they cannot be used, which the check of the configuration has ruled out.
    pub fn tls(&self, files: &TlsFiles, protocols: &[&str]) -> io::Result<TlsServer> {
        let text = |path: &PathBuf| self.secrets.get(path).map_or("", Secret::reveal);
        let identities: Vec<Identity<'_>> =
            files.pairs().map(|(certificate, key)| Identity { certificate: text(certificate), key: text(key) }).collect();
        let clients = files.clients.as_ref().map(|path| (text(path), files.client_certificates));
        TlsServer::new(&identities, clients, files.minimum, protocols, Limits { time: *files.handshake, at_once: files.max_handshakes })
    }

    /// The certificates that servers show to clients, by file.
    #[must_use]
    pub fn certificates(&self) -> BTreeMap<&Path, Certificate> {
        let files = self.servers.values().filter_map(Server::tls).flat_map(TlsFiles::pairs);
        let read = |path: &PathBuf| self.secrets.get(path).and_then(|pem| Certificate::read(pem.reveal()));
        // The check of the configuration has warned of one that cannot be read.
        files.filter_map(|(path, _)| Some((path.as_path(), read(path).filter(|read| !read.is_placeholder)?))).collect()
    }

    /// The certificates that are ordered by ACME, each once, with its file.
    pub fn ordered(&self) -> impl Iterator<Item = (&Path, &Acme)> {
        let all = self.servers.values().filter_map(Server::tls);
        let ordered: BTreeMap<_, _> = all.filter_map(|files| Some((files.certificate.as_path(), files.acme.as_ref()?))).collect();
        ordered.into_iter()
    }

    /// Takes those certificates up that were ordered since the configuration was read; gives what cannot be used of them, in words.
    pub fn take_ordered(&mut self) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut taken = Vec::new();
        for (path, acme) in self.ordered() {
            match ordered::identity(path, acme) {
                Ok(text) => taken.push((path.to_owned(), text)),
                Err(why) => troubles.push(why),
            }
        }
        self.secrets.extend(taken.into_iter().map(|(path, text)| (path, Secret::new(text))));
        troubles
    }

    /// Every address that must be bound, with the name of its server: servers by name, then the admin listener as [`ADMIN`].
    #[must_use]
    pub fn listeners(&self) -> Vec<(&str, &Address)> {
        let servers = self.servers.iter().flat_map(|(name, server)| server.listen().iter().map(|address| (name.as_str(), address)));
        servers.chain(self.admin.listen.iter().map(|address| (ADMIN, address))).collect()
    }

    /// The settings as a process sees them that has changed its root to `chroot`: paths inside it without that beginning.
    ///
    /// Paths outside stay as they are: what they mean was opened before. Without a `chroot` nothing changes.
    #[must_use]
    pub fn inside_chroot(mut self) -> Self {
        let Some(root) = self.chroot.take() else { return self };
        let inside = |path: &mut PathBuf| {
            if let Ok(rest) = path.strip_prefix(&root) {
                *path = Path::new("/").join(rest);
            }
        };
        let Store::Embedded(EmbeddedSettings { path: store, .. }) = &mut self.store;
        for path in [&mut self.data, &mut self.run, &mut self.pid_file, &mut self.base, store] {
            inside(path);
        }
        if let Some(AccessLog { file: LogFile::Path(path), .. }) = &mut self.access_log {
            inside(path);
        }
        for app in self.apps.values_mut() {
            match app {
                App::Native(_) => {}
                App::Cgi(cgi) => {
                    inside(&mut cgi.root);
                    cgi.interpreters.values_mut().for_each(inside);
                    cgi.overrides.binpath.values_mut().for_each(inside);
                    cgi.sendfile_roots.iter_mut().chain(&mut cgi.overrides.chroot).chain(&mut cgi.overrides.cwd).for_each(inside);
                }
                // Its root is a path of the server behind it, which may be on another machine.
                App::FastCgiUpstream(upstream) => {
                    upstream.address.socket_mut().into_iter().for_each(inside);
                    upstream.sendfile_roots.iter_mut().for_each(inside);
                }
                App::Files(files) => inside(&mut files.root),
                App::Proxy(proxy) => proxy.paths(inside),
                App::Script(script) => {
                    inside(&mut script.path);
                    script.sendfile_roots.iter_mut().for_each(inside);
                    script.limits.read.iter_mut().chain(&mut script.limits.write).for_each(inside);
                }
            }
        }
        for server in self.servers.values_mut() {
            match server {
                Server::FlashPolicy(policy) => inside(&mut policy.file),
                Server::FastCgi(fastcgi) => {
                    let sendfile = fastcgi.sendfile.as_mut().map(|sendfile| &mut sendfile.directory);
                    fastcgi.uploads.dir.iter_mut().chain(&mut fastcgi.body_files).chain(sendfile).for_each(inside);
                }
                Server::Http(http) => http.uploads.dir.as_mut().map_or((), inside),
                Server::Lock(_) | Server::Rtep(_) | Server::Script(_) => {}
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_with;

    #[test]
    fn paths_are_seen_from_inside_the_chroot() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("jail/www")).unwrap();
        let file = base.join("config.ron");
        let text = "Config(chroot: \"jail\", data: \"jail/data\", apps: {\"site\": Files(root: \"jail/www\"), \"examples\": Script(path: \"embedded:examples\", limits: (read: [\"jail\"]))}, \
                    servers: {\"web\": Http(listen: [\"127.0.0.1:0\"], routes: [(path: \"/\", app: \"site\"), (path: \"/x\", app: \"examples\")])})";
        std::fs::write(&file, text).unwrap();
        let settings = load_with(Some(&file), &|_| None).unwrap().settings.inside_chroot();
        assert_eq!(settings.data, Path::new("/data"));
        assert_eq!(settings.run, base.join("run"));
        let Store::Embedded(store) = settings.store;
        assert_eq!(store.path, Path::new("/data/store.db"));
        let App::Files(site) = &settings.apps["site"] else { panic!("site is files") };
        assert_eq!(site.root, Path::new("/www"));
        let App::Script(examples) = &settings.apps["examples"] else { panic!("examples is a script") };
        assert_eq!((examples.embedded(), examples.limits.read.as_slice()), (Some("examples"), [PathBuf::from("/")].as_slice()));
        let Server::Http(web) = &settings.servers["web"] else { panic!("web is an HTTP server") };
        assert_eq!(web.uploads.dir.as_deref(), Some(Path::new("/data/uploads")));
    }
}
