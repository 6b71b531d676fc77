//! What differs between two configurations, and what of it needs a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::settings::{ADMIN, Settings};
use super::written::{App, Server};
use crate::net::Address;

/// What changes from one configuration to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Listeners to bind: (server, address); the admin listener is [`ADMIN`].
    pub listeners_added: Vec<(String, Address)>,
    /// Listeners to close. An address that only moved to another server is in both lists: its socket can stay open.
    pub listeners_removed: Vec<(String, Address)>,
    /// Listeners that go on as they are.
    pub listeners_kept: Vec<(String, Address)>,
    /// Applications to start.
    pub apps_added: Vec<String>,
    /// Applications to end.
    pub apps_removed: Vec<String>,
    /// Applications to load anew. Those that did not change go on, with the state they have.
    pub apps_changed: Vec<String>,
    /// Servers whose options (routes, limits, timeouts, TLS) changed; what they listen on is in the lists above.
    pub servers_changed: Vec<String>,
    /// Whether the log changed (file, level, format).
    pub log: bool,
    /// Whether the log of requests changed.
    pub access_log: bool,
    /// Whether the number and life of workers changed.
    pub workers: bool,
    /// Whether the admin token changed.
    pub admin_token: bool,
    /// What was changed in place, in words, one line each.
    pub applied: Vec<String>,
    /// What was changed in the file and takes effect after `skep restart` only, in words, one line each.
    pub restart: Vec<String>,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.restart.is_empty()
    }

    /// What to answer to the one who asked for the update, one line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        if self.is_empty() {
            return vec!["nothing has changed".to_owned()];
        }
        let waiting = self.restart.iter().map(|line| format!("{line}: needs a restart"));
        self.applied.iter().cloned().chain(waiting).collect()
    }
}

/// Compares two configurations.
///
/// What needs a restart must be put back by the caller before `new` is applied: [`keep_what_needs_a_restart`].
#[must_use]
pub fn diff(old: &Settings, new: &Settings) -> Changes {
    let mut changes = Changes::default();
    listeners(&mut changes, old, new);
    apps(&mut changes, &old.apps, &new.apps);
    servers(&mut changes, old, new);
    changes.log = old.log != new.log;
    changes.access_log = old.access_log != new.access_log;
    changes.workers = old.workers != new.workers;
    changes.admin_token = old.admin.token != new.admin.token;
    for (changed, line) in [
        (changes.workers, "workers changed"),
        (changes.log, "log changed"),
        (changes.access_log, "access_log changed"),
        (changes.admin_token, "admin token changed"),
        (old.session_keys != new.session_keys, "session_keys changed"),
        (old.cache != new.cache, "cache changed"),
        (old.dev != new.dev, "dev changed"),
        (old.auto_reload != new.auto_reload, "auto_reload changed"),
        (old.clients != new.clients, "clients changed"),
        (old.locks != new.locks, "locks changed"),
    ] {
        if changed {
            changes.applied.push(line.to_owned());
        }
    }
    for (changed, name) in [
        (old.user != new.user, "user"),
        (old.group != new.group, "group"),
        (old.chroot != new.chroot, "chroot"),
        (old.cwd != new.cwd, "cwd"),
        (old.data != new.data, "data"),
        (old.run != new.run, "run"),
        (old.pid_file != new.pid_file, "pid_file"),
        (old.store != new.store, "store"),
        (old.events != new.events, "events"),
        (old.limiter != new.limiter, "limiter"),
        (old.workers.max_total != new.workers.max_total, "workers.max_total"),
    ] {
        if changed {
            changes.restart.push(name.to_owned());
        }
    }
    changes
}

/// Gives `new` the values of `old` in everything that cannot change without a restart, so that the rest can be applied.
pub fn keep_what_needs_a_restart(old: &Settings, new: &mut Settings) {
    new.user.clone_from(&old.user);
    new.group.clone_from(&old.group);
    new.chroot.clone_from(&old.chroot);
    new.cwd.clone_from(&old.cwd);
    new.data.clone_from(&old.data);
    new.run.clone_from(&old.run);
    new.pid_file.clone_from(&old.pid_file);
    new.store.clone_from(&old.store);
    new.events = old.events.clone();
    new.limiter = old.limiter.clone();
    new.workers.max_total = old.workers.max_total;
    new.workers.max = new.workers.max.min(old.workers.max_total);
    new.workers.min = new.workers.min.min(new.workers.max);
}

fn listeners(changes: &mut Changes, old: &Settings, new: &Settings) {
    let owned = |settings: &Settings| {
        settings.listeners().into_iter().map(|(server, address)| (server.to_owned(), address.clone())).collect::<Vec<_>>()
    };
    let (before, after) = (owned(old), owned(new));
    let spoken = |server: &str| if server == ADMIN { "the admin listener".to_owned() } else { format!("server `{server}`") };
    for listener in after {
        if before.contains(&listener) {
            changes.listeners_kept.push(listener);
        } else {
            changes.applied.push(format!("{} listens on {}", spoken(&listener.0), listener.1));
            changes.listeners_added.push(listener);
        }
    }
    for listener in before {
        if !changes.listeners_kept.contains(&listener) {
            changes.applied.push(format!("{} no longer listens on {}", spoken(&listener.0), listener.1));
            changes.listeners_removed.push(listener);
        }
    }
}

fn apps(changes: &mut Changes, old: &BTreeMap<String, App>, new: &BTreeMap<String, App>) {
    for (name, app) in new {
        match old.get(name) {
            None => {
                changes.applied.push(format!("application `{name}` added"));
                changes.apps_added.push(name.clone());
            }
            Some(before) if before != app => {
                changes.applied.push(format!("application `{name}` changed"));
                changes.apps_changed.push(name.clone());
            }
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.applied.push(format!("application `{name}` removed"));
        changes.apps_removed.push(name.clone());
    }
}

/// A server as it is apart from what it listens on.
fn without_listeners(server: &Server) -> Server {
    let mut server = server.clone();
    match &mut server {
        Server::Http(http) => http.listen.clear(),
        Server::FastCgi(fastcgi) => fastcgi.listen.clear(),
        Server::FlashPolicy(policy) => policy.listen.clear(),
        Server::Lock(lock) => lock.listen.clear(),
        Server::Rtep(rtep) => rtep.listen.clear(),
        Server::Script(script) => script.listen.clear(),
    }
    server
}

fn servers(changes: &mut Changes, old: &Settings, new: &Settings) {
    for (name, server) in &new.servers {
        let Some(before) = old.servers.get(name) else {
            changes.applied.push(format!("server `{name}` added"));
            changes.servers_changed.push(name.clone());
            continue;
        };
        let pem = |settings: &Settings, server: &Server| {
            let read = |path: &PathBuf| settings.secrets.get(path).cloned();
            server.tls().map(|files| files.files().map(read).collect::<Vec<_>>())
        };
        let users =
            |settings: &Settings, server: &Server| server.users().map(|path| settings.secrets.get(path).cloned()).collect::<Vec<_>>();
        let pages =
            |settings: &Settings, server: &Server| server.pages().map(|path| settings.secrets.get(path).cloned()).collect::<Vec<_>>();
        if without_listeners(before) == without_listeners(server) {
            if pem(old, before) != pem(new, server) {
                changes.servers_changed.push(name.clone());
                changes.applied.push(format!("certificates of server `{name}` changed"));
            } else if users(old, before) != users(new, server) {
                changes.servers_changed.push(name.clone());
                changes.applied.push(format!("users of server `{name}` changed"));
            } else if pages(old, before) != pages(new, server) {
                changes.servers_changed.push(name.clone());
                changes.applied.push(format!("error pages of server `{name}` changed"));
            }
            continue;
        }
        changes.servers_changed.push(name.clone());
        changes.applied.push(match (before, server) {
            (Server::Http(one), Server::Http(two)) if one.routes != two.routes => format!("routes of server `{name}` changed"),
            (Server::FastCgi(one), Server::FastCgi(two)) if one.routes != two.routes => format!("routes of server `{name}` changed"),
            _ => format!("server `{name}` changed"),
        });
    }
    for name in old.servers.keys().filter(|name| !new.servers.contains_key(*name)) {
        changes.applied.push(format!("server `{name}` removed"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::check::{Sources, check};
    use super::super::parse::dialect;
    use super::*;

    fn settings(text: &str) -> Settings {
        let written = dialect().from_str(text).unwrap();
        let base = std::env::temp_dir();
        check(written, &Sources::default(), Path::new(&base)).unwrap().0
    }

    const EXAMPLES: &str = "apps: {\"a\": Script(path: \"embedded:examples\")}";

    fn with(rest: &str) -> Settings {
        settings(&format!("Config({EXAMPLES}, {rest})"))
    }

    #[test]
    fn nothing_changed() {
        let one = with("servers: {\"web\": Http(listen: [\"127.0.0.1:0\"], routes: [(path: \"/\", app: \"a\")])}");
        let changes = diff(&one, &one);
        assert!(changes.is_empty());
        assert_eq!(changes.lines(), ["nothing has changed"]);
        assert_eq!(changes.listeners_kept.len(), 2);
    }

    #[test]
    fn listeners_and_routes_change_in_place() {
        let old = with(
            "servers: {\"web\": Http(listen: [\"127.0.0.1:8001\", \"127.0.0.1:8002\"]), \"gone\": Script(listen: [\"127.0.0.1:8003\"], app: \"a\")}",
        );
        let new = with(
            "servers: {\"web\": Http(listen: [\"127.0.0.1:8002\", \"127.0.0.1:8004\"], routes: [(path: \"/\", app: \"a\")])}, log: (level: Debug)",
        );
        let changes = diff(&old, &new);
        let address = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(changes.listeners_added, [("web".to_owned(), address("127.0.0.1:8004"))]);
        assert_eq!(
            changes.listeners_removed,
            [("gone".to_owned(), address("127.0.0.1:8003")), ("web".to_owned(), address("127.0.0.1:8001"))]
        );
        assert_eq!(changes.listeners_kept, [("web".to_owned(), address("127.0.0.1:8002")), (ADMIN.to_owned(), address("127.0.0.1:8048"))]);
        assert_eq!(changes.servers_changed, ["web"]);
        assert!(changes.log && !changes.workers && changes.restart.is_empty());
        assert_eq!(
            changes.lines(),
            [
                "server `web` listens on 127.0.0.1:8004",
                "server `gone` no longer listens on 127.0.0.1:8003",
                "server `web` no longer listens on 127.0.0.1:8001",
                "routes of server `web` changed",
                "server `gone` removed",
                "log changed",
            ]
        );
    }

    #[test]
    fn applications_are_told_apart() {
        let app = |name: &str, memory: &str| format!("\"{name}\": Script(path: \"embedded:examples\", limits: (memory: \"{memory}\"))");
        let old = settings(&format!("Config(apps: {{{}, {}, {}}})", app("same", "8 MiB"), app("other", "8 MiB"), app("old", "8 MiB")));
        let new = settings(&format!("Config(apps: {{{}, {}, {}}})", app("same", "8 MiB"), app("other", "9 MiB"), app("new", "8 MiB")));
        let changes = diff(&old, &new);
        assert_eq!(
            (changes.apps_added, changes.apps_changed, changes.apps_removed),
            (vec!["new".into()], vec!["other".into()], vec!["old".into()])
        );
    }

    #[test]
    fn what_needs_a_restart_is_named_and_kept() {
        let old = with("run: \"one\"");
        let mut new = with("run: \"two\", pid_file: \"x.pid\", dev: true, workers: (max: 40, max_total: 100)");
        let changes = diff(&old, &new);
        assert_eq!(changes.restart, ["run", "pid_file", "workers.max_total"]);
        assert!(changes.lines().contains(&"run: needs a restart".to_owned()));
        keep_what_needs_a_restart(&old, &mut new);
        assert_eq!(diff(&old, &new).restart, Vec::<String>::new());
        assert!(new.dev);
        assert_eq!(new.workers.max, 32);
    }

    #[test]
    fn settings_survive_the_way_to_a_worker() {
        let one = with(
            "servers: {\"web\": Http(listen: [\"127.0.0.1:0\"], routes: [(host: \"*.a.org\", path: \"/\", app: \"a\")])}, admin: (token: \"0123456789abcdef\"), access_log: (format: Custom(\"$status\"))",
        );
        let text = serde_json::to_string(&one).unwrap();
        assert!(text.contains("0123456789abcdef"));
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), one);
        assert!(!format!("{one:?}").contains("0123456789abcdef"));
    }
}
