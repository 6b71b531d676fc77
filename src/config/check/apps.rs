//! Applications: what they are made of is there.

use std::collections::BTreeMap;
use std::path::Path;

use super::Checker;
use crate::apps::files::config::Files;
use crate::config::problem::{Problem, did_you_mean};
use crate::config::tree::Place;
use crate::config::written::{App, NativeApp, Server};
use crate::request::registry;
use crate::script::config::{EMBEDDED, ENTRIES, ScriptApp, ScriptLimits};
use crate::units::{HumanDuration, HumanSize};

impl Checker<'_> {
    /// Every application, and a warning for those nothing leads to.
    pub(super) fn apps(&mut self, apps: BTreeMap<String, App>, servers: &BTreeMap<String, Server>) -> BTreeMap<String, App> {
        let mut checked = BTreeMap::new();
        for (name, app) in apps {
            let place = Place::top().name("apps").name(name.as_str());
            if !servers.values().any(|server| server.leads_to(&name)) {
                let excerpt = self.sources.key(&place);
                self.problems.push(Problem::warning(format!("no server leads to the application `{name}`"), excerpt));
            }
            let app = match app {
                App::Script(script) => App::Script(self.script(&place, script)),
                App::Cgi(cgi) => App::Cgi(self.cgi(&place, cgi)),
                App::FastCgiUpstream(upstream) => App::FastCgiUpstream(self.fastcgi_upstream(&place, upstream)),
                App::Files(files) => App::Files(self.files(&place, files)),
                App::Proxy(proxy) => App::Proxy(Box::new(self.proxy(&place, *proxy))),
                App::Native(native) => App::Native(self.native(&place, native)),
            };
            checked.insert(name, app);
        }
        checked
    }

    fn script(&mut self, place: &Place, mut script: ScriptApp) -> ScriptApp {
        for (index, path) in script.sendfile_roots.iter_mut().enumerate() {
            *path = self.directory_to_read(&place.name("sendfile_roots").index(index), path);
        }
        let limits = self.limits(&place.name("limits"), &script.limits);
        let at = place.name("path");
        if let Some(name) = script.embedded() {
            if !EMBEDDED.contains(&name) {
                let known = EMBEDDED.map(|name| format!("`embedded:{name}`")).join(", ");
                self.error_with(&at, format!("there is no application `{name}` inside the binary"), Some(format!("there are: {known}")));
            }
            return ScriptApp { limits, ..script };
        }
        let path = self.base.join(&script.path);
        let path = if path.is_dir() && !script.path.as_os_str().is_empty() {
            let path = self.directory_to_read(&at, &script.path);
            match ENTRIES.iter().map(|entry| path.join(entry)).find(|entry| entry.exists()) {
                Some(entry) => self.compiles(&entry),
                None => self.error_with(
                    &at,
                    format!("there is no {} in {}", ENTRIES.join(" or "), path.display()),
                    Some("`skep new` writes an application to start from".to_owned()),
                ),
            }
            path
        } else {
            let path = self.file_to_read(&at, &script.path, true);
            self.compiles(&path);
            path
        };
        ScriptApp { path, limits, ..script }
    }

    fn native(&mut self, place: &Place, native: NativeApp) -> NativeApp {
        let known = registry::kinds();
        if !known.contains(&native.kind.as_str()) {
            let help = match (known.is_empty(), did_you_mean(&native.kind, known.iter().copied())) {
                (true, _) => "this binary was built without applications in Rust; see `skep::register`".to_owned(),
                (false, Some(near)) => near,
                (false, None) => format!("there are: {}", known.join(", ")),
            };
            self.error_with(&place.name("kind"), format!("there is no application kind `{}` in this binary", native.kind), Some(help));
        }
        native
    }

    fn limits(&mut self, place: &Place, limits: &ScriptLimits) -> ScriptLimits {
        self.at_least(&place.name("memory"), limits.memory, HumanSize::mib(1));
        self.at_least(&place.name("step"), limits.step, HumanDuration::milliseconds(1));
        self.at_least(&place.name("tasks"), limits.tasks, 1);
        let mut limits = limits.clone();
        for (name, paths) in [("read", &mut limits.read), ("write", &mut limits.write)] {
            for (index, path) in paths.iter_mut().enumerate() {
                let place = place.name(name).index(index);
                *path = self.absolute(&place, path);
                self.inside_chroot(&place, path);
            }
        }
        limits
    }

    fn files(&mut self, place: &Place, files: Files) -> Files {
        let at = place.name("root");
        if files.root.as_os_str().is_empty() {
            self.error(place, "files need a directory: `root`");
            return files;
        }
        let root = self.directory_to_read(&at, &files.root);
        self.index(place, &files.index);
        self.codings(&place.name("precompressed"), &files.precompressed);
        if files.cache_control.as_deref().is_some_and(|value| value.contains(|c: char| c.is_control())) {
            self.error(&place.name("cache_control"), "a header has no line ends or other control characters");
        }
        for (extension, content_type) in &files.types {
            let at = place.name("types").name(extension.as_str());
            if extension.is_empty() || extension.contains(['/', '.']) {
                self.error(&at, format!("{extension:?} is no file name extension: write it without the dot"));
            } else if !is_content_type(content_type) {
                self.error(&at, format!("{content_type:?} is no content type, such as \"text/html; charset=utf-8\""));
            }
        }
        if files.cache.max_file > files.cache.size && *files.cache.size > 0 {
            self.warning(
                &place.name("cache").name("max_file"),
                format!("`max_file` ({}) is more than the whole cache ({})", files.cache.max_file, files.cache.size),
            );
        }
        Files { root, ..files }
    }

    /// Files that answer for a directory.
    pub(super) fn index(&mut self, place: &Place, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                self.error(
                    &place.name("index").index(index),
                    format!("{name:?} is no file that could answer for a directory: a plain name without `/` and leading dot"),
                );
            }
        }
    }

    /// A directory for files that clients send.
    pub(super) fn upload_directory(&mut self, place: &Place, written: Option<&Path>, data: &Path) -> std::path::PathBuf {
        match written {
            Some(path) => self.worker_directory(place, path),
            None => data.join("uploads"),
        }
    }
}

/// `type/subtype` and parameters (RFC 9110 section 8.3.1), as far as a header line needs it.
fn is_content_type(text: &str) -> bool {
    let token = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte));
    let essence = text.split(';').next().unwrap_or(text).trim();
    let halves = essence.split_once('/');
    halves.is_some_and(|(kind, subtype)| token(kind) && token(subtype)) && !text.contains(|c: char| c.is_control())
}
