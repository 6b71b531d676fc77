//! From what is written to what the program works with, and everything that could be known to fail at the start.

mod acme;
mod apps;
mod cgi;
mod clients;
mod disk;
mod listeners;
mod locks;
mod luau;
mod process;
mod proxy;
mod rtep;
mod servers;
mod store;
mod tls;
mod workers;

pub use disk::usable_directory;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::problem::{Excerpt, Problem, Severity};
use super::settings::{ADMIN, Settings};
use super::source::Source;
use super::tree::{Place, Step};
use super::written::Config;
use crate::secret::Secret;
use crate::sys::accounts::Accounts;
use crate::units::HumanDuration;

/// The files a configuration was read from, and which of them has which application, server and client.
#[derive(Debug, Default)]
pub struct Sources {
    /// The files; the first is the one that includes the others. Empty for the built-in defaults.
    pub files: Vec<Source>,
    /// Which file has the entry of a map: (`apps`, its name).
    pub owners: BTreeMap<(&'static str, String), usize>,
}

impl Sources {
    fn file(&self, place: &Place) -> Option<&Source> {
        let owner = match place.steps() {
            [Step::Name(map), Step::Name(name), ..] => {
                self.owners.iter().find(|((owned, entry), _)| owned == map && entry == name).map(|(_, index)| *index)
            }
            _ => None,
        };
        self.files.get(owner.unwrap_or(0))
    }

    /// The place of a value.
    #[must_use]
    pub fn value(&self, place: &Place) -> Option<Excerpt> {
        self.file(place).map(|source| source.place(place))
    }

    /// The place of a value's name.
    #[must_use]
    pub fn key(&self, place: &Place) -> Option<Excerpt> {
        self.file(place).map(|source| source.key(place))
    }
}

/// Checks what is written. Relative paths are relative to `base`, which is absolute.
///
/// # Errors
/// All errors, if there is one; else the settings with the warnings.
pub fn check(written: Config, sources: &Sources, base: &Path) -> Result<(Settings, Vec<Problem>), Vec<Problem>> {
    let accounts = Accounts::load();
    let mut checker = Checker {
        sources,
        base,
        problems: Vec::new(),
        chroot: None,
        reader: None,
        secrets: BTreeMap::new(),
        accounts: Accounts::default(),
    };
    match accounts {
        Ok(accounts) => checker.accounts = accounts,
        Err(error) => checker.problems.push(Problem::error(format!("cannot read the users and groups: {error}"), None)),
    }
    let settings = checker.config(written);
    let mut problems = checker.problems;
    problems.sort_by_key(|problem| {
        let place = problem.excerpt.as_ref();
        let file = place.and_then(|excerpt| sources.files.iter().position(|source| source.path == excerpt.file));
        (file, place.map(|excerpt| (excerpt.line, excerpt.column)))
    });
    problems.dedup();
    // Warnings beside errors are mostly their consequence.
    let fatal = |problem: &Problem| problem.severity == Severity::Error;
    if problems.iter().any(fatal) {
        problems.retain(fatal);
        return Err(problems);
    }
    Ok((settings, problems))
}

struct Checker<'a> {
    sources: &'a Sources,
    base: &'a Path,
    problems: Vec<Problem>,
    /// The root of the workers, once it is checked.
    chroot: Option<PathBuf>,
    /// Who will read and write the files, when it is not who checks.
    reader: Option<disk::Reader>,
    /// Certificates, keys and files of users that were read, by file.
    secrets: BTreeMap<PathBuf, Secret>,
    /// The users and groups of this machine.
    accounts: Accounts,
}

impl Checker<'_> {
    fn config(&mut self, written: Config) -> Settings {
        let top = Place::top();
        self.users(&written);
        let chroot = written.chroot.map(|path| self.chroot(&top.name("chroot"), path));
        let cwd = written.cwd.map(|path| self.cwd(&top.name("cwd"), path));
        let data = self.data_directory(&top.name("data"), &written.data);
        let run = self.directory(&top.name("run"), &written.run);
        let pid_file = match written.pid_file {
            Some(path) => self.file_to_write(&top.name("pid_file"), &path),
            None => run.join("skep.pid"),
        };
        let store = self.store(written.store, &data);
        let log = self.log(written.log);
        let access_log = written.access_log.map(|log| self.access_log(log));
        let workers = self.workers(written.workers, &written.apps);
        for (map, names) in [
            ("apps", written.apps.keys().collect::<Vec<_>>()),
            ("servers", written.servers.keys().collect()),
            ("clients", written.clients.keys().collect()),
        ] {
            for name in names {
                self.name(map, name);
            }
        }
        let servers = self.servers(written.servers, &written.apps, &data);
        let apps = self.apps(written.apps, &servers);
        // A ticket lives for seven days at most (RFC 8446 §4.6.1).
        self.within(&top.name("session_keys"), written.session_keys, HumanDuration::seconds(1), HumanDuration::seconds(7 * 86_400));
        let admin = self.admin(written.admin);
        if written.cache.max_value > written.cache.memory {
            self.error(&top.name("cache").name("max_value"), "a value cannot be larger than the memory of the whole cache");
        }
        self.within(&top.name("limiter").name("addresses"), written.limiter.addresses, 64, 4_194_304);
        let clients = self.clients(written.clients, &written.events);
        let settings = Settings {
            file: self.sources.files.first().map(|source| source.path.clone()),
            base: self.base.to_owned(),
            user: written.user,
            group: written.group,
            chroot,
            cwd,
            data,
            run,
            pid_file,
            auto_reload: written.auto_reload,
            dev: written.dev,
            log,
            access_log,
            workers,
            session_keys: written.session_keys,
            admin,
            cache: written.cache,
            store,
            events: written.events,
            locks: self.locks(written.locks),
            limiter: written.limiter,
            clients,
            apps,
            servers,
            secrets: std::mem::take(&mut self.secrets),
        };
        self.listeners(&settings);
        self.way_of_challenges(&settings);
        settings
    }

    /// Reports an error at a value.
    fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(Problem::error(message, self.sources.value(place)));
    }

    /// Reports an error at a value, with advice.
    fn error_with(&mut self, place: &Place, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem::error(message, self.sources.value(place)).maybe_help(help));
    }

    /// Reports a warning at a value.
    fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(Problem::warning(message, self.sources.value(place)));
    }

    /// A path made absolute.
    fn absolute(&mut self, place: &Place, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() {
            let name = match place.steps().last() {
                Some(Step::Name(name)) => format!("`{name}`"),
                _ => "a path".to_owned(),
            };
            self.error(place, format!("{name} is missing"));
        }
        self.base.join(path).components().collect()
    }

    /// Names end up in logs, addresses and status lines: they are kept plain.
    fn name(&mut self, map: &'static str, name: &str) {
        let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let place = Place::top().name(map).name(name);
        if !plain {
            let excerpt = self.sources.key(&place);
            self.problems.push(Problem::error(format!("{name:?} is no name: 1 to 64 letters, digits, `-`, `_` and `.`"), excerpt));
        } else if map == "servers" && name == ADMIN {
            let excerpt = self.sources.key(&place);
            self.problems.push(Problem::error("no server can be called `admin`: that is the admin listener", excerpt));
        }
    }

    /// Reports a number below its least.
    fn at_least<T: PartialOrd + std::fmt::Display>(&mut self, place: &Place, value: T, least: T) {
        if value < least {
            self.error(place, format!("{value} is too small: at least {least}"));
        }
    }

    /// Reports a number outside its bounds.
    fn within<T: PartialOrd + std::fmt::Display>(&mut self, place: &Place, value: T, least: T, most: T) {
        if value > most {
            self.error(place, format!("{value} is too large: at most {most}"));
        }
        self.at_least(place, value, least);
    }
}
