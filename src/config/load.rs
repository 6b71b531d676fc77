//! From a path to settings that work, or to everything that is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::builtin::temporary_base;
use super::check::{Sources, check, usable_directory};
use super::parse::parse;
use super::problem::{ConfigErrors, Excerpt, Problem, Severity, plain_reason};
use super::settings::Settings;
use super::source::Source;
use super::substitute::substitute;
use super::tree::Place;
use super::written::{Config, Included, Server};
use crate::net::tls_files::TlsFiles;

/// The largest file that is read.
const LARGEST_FILE: u64 = 4 << 20;

/// The most files that `include` may bring.
const MOST_FILES: usize = 1000;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to work with.
    pub settings: Settings,
    /// The files it came from: the configuration, what it includes, the files of `"${file:…}"`. For [`super::watch::Watch`].
    pub files_read: Vec<PathBuf>,
    /// What is perhaps not as it was meant.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a configuration; with no path, the built-in defaults with the working directory as their base.
/// Nothing is written, made or bound.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    load_with(path, &|name| std::env::var(name).ok())
}

/// As [`load`], with the environment's variables from a function.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: Option<&Path>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigErrors> {
    let mut loader = Loader {
        environment,
        base: PathBuf::new(),
        sources: Sources::default(),
        files_read: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let written = loader.read(path);
    let Loader { base, sources, mut files_read, mut problems, mut warnings, .. } = loader;
    let Some(written) = written else { return Err(ConfigErrors { problems, files_read }) };
    let certificates = written.servers.values().filter_map(Server::tls).flat_map(TlsFiles::files);
    files_read.extend(certificates.map(|path| base.join(path)));
    files_read.extend(written.servers.values().flat_map(Server::users).map(|path| base.join(path)));
    match check(written, &sources, &base) {
        Ok((settings, more)) if problems.is_empty() => {
            warnings.extend(more);
            Ok(Loaded { settings, files_read, warnings })
        }
        Ok((_, more)) | Err(more) => {
            problems.extend(more);
            // Warnings beside errors are mostly their consequence.
            problems.retain(|problem| problem.severity == Severity::Error);
            Err(ConfigErrors { problems, files_read })
        }
    }
}

struct Loader<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    base: PathBuf,
    sources: Sources,
    files_read: Vec<PathBuf>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Loader<'_> {
    /// What is written in the file and those it includes; nothing when it cannot be known, the problems say why.
    fn read(&mut self, path: Option<&Path>) -> Option<Config> {
        let here = std::env::current_dir().map_err(|error| self.fail(format!("cannot find the working directory: {error}"))).ok()?;
        let Some(path) = path else {
            self.base = here;
            self.plain_base()?;
            return self.built_in();
        };
        let path: PathBuf = here.join(path).components().collect();
        path.parent().unwrap_or(&path).clone_into(&mut self.base);
        self.plain_base()?;
        let mut written: Config = self.file(&path, None)?;
        let index = self.sources.files.len() - 1;
        own(&mut self.sources.owners, "apps", written.apps.keys(), index);
        own(&mut self.sources.owners, "servers", written.servers.keys(), index);
        own(&mut self.sources.owners, "clients", written.clients.keys(), index);
        let mut complete = true;
        for (index, pattern) in written.include.clone().iter().enumerate() {
            let place = Place::top().name("include").index(index);
            for file in self.included(&place, pattern) {
                complete &= self.include(&mut written, &file, &place);
            }
        }
        complete.then_some(written)
    }

    /// The built-in configuration. It must work anywhere, so it does not insist on the working directory.
    fn built_in(&mut self) -> Option<Config> {
        let mut written = Config::built_in();
        if usable_directory(&self.base.join(&written.data)).is_err() || usable_directory(&self.base.join(&written.run)).is_err() {
            let other = temporary_base().map_err(|message| self.fail(message)).ok()?;
            let message = format!(
                "the working directory cannot be written: data is kept in {}, which may be emptied when the machine starts",
                other.display()
            );
            self.warnings.push(Problem::warning(message, None));
            written.data = other.join("data");
            written.run = other.join("run");
        }
        Some(written)
    }

    fn fail(&mut self, message: String) {
        self.problems.push(Problem::error(message, None));
    }

    /// Settings travel between processes as text, so their paths must be text.
    fn plain_base(&mut self) -> Option<()> {
        if self.base.to_str().is_none() {
            self.fail(format!("the directory {} has a name that is not UTF-8", self.base.display()));
            return None;
        }
        Some(())
    }

    /// Reads one file; `wanted_by` is where it is named, if it is.
    fn file<T: serde::de::DeserializeOwned>(&mut self, path: &Path, wanted_by: Option<Excerpt>) -> Option<T> {
        self.files_read.push(path.to_owned());
        let text = match read_text(path) {
            Ok(text) => text,
            Err(message) => {
                self.problems.push(Problem::error(format!("cannot read {}: {message}", path.display()), wanted_by));
                return None;
            }
        };
        let source = Source::new(path, text);
        let filled = substitute(&source, &self.base, self.environment);
        self.files_read.extend(filled.files.iter().cloned());
        let missing = !filled.problems.is_empty();
        self.problems.extend(filled.problems.iter().cloned());
        for (name, span) in source.tree.repeated() {
            self.problems.push(Problem::error(format!("`{name}` stands twice"), Some(source.excerpt(span))));
        }
        match parse(&source, &filled) {
            Ok(value) if !missing => {
                self.sources.files.push(source);
                Some(value)
            }
            // A value that was not filled in may well be wrong where it stands; that is no second error.
            Ok(_) => None,
            Err(problem) => {
                let told = self.problems.iter().any(|other| {
                    other
                        .excerpt
                        .as_ref()
                        .zip(problem.excerpt.as_ref())
                        .is_some_and(|(one, two)| one.line == two.line && one.file == two.file)
                });
                if !told {
                    self.problems.push(*problem);
                }
                None
            }
        }
    }

    /// The files that a pattern of `include` means, in the order of their names.
    fn included(&mut self, place: &Place, pattern: &str) -> Vec<PathBuf> {
        let excerpt = self.sources.value(place);
        let path: PathBuf = self.base.join(pattern).components().collect();
        let (Some(name), Some(directory)) = (path.file_name().and_then(|name| name.to_str()), path.parent()) else {
            self.problems.push(Problem::error(format!("{pattern:?} names no file"), excerpt));
            return Vec::new();
        };
        if directory.to_str().is_some_and(|directory| directory.contains('*')) {
            self.problems.push(Problem::error("a `*` may stand in the name of the file only, not in its directory", excerpt));
            return Vec::new();
        }
        if !name.contains('*') {
            return vec![path];
        }
        // The directory is watched, so that a file added to it is seen.
        self.files_read.push(path.clone());
        let names = match fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.problems.push(Problem::error(format!("cannot read {}: {error}", directory.display()), excerpt));
                return Vec::new();
            }
        };
        let mut found: Vec<PathBuf> =
            names.filter(|file| !file.starts_with('.') && matches(name, file)).map(|file| directory.join(file)).collect();
        found.sort();
        if found.len() > MOST_FILES {
            self.problems.push(Problem::error(format!("{pattern:?} means {} files, at most {MOST_FILES} are read", found.len()), excerpt));
            return Vec::new();
        }
        found
    }

    /// Adds what a file has; whether that worked.
    fn include(&mut self, written: &mut Config, path: &Path, place: &Place) -> bool {
        let wanted_by = self.sources.files[0].place(place);
        if self.sources.files.iter().any(|source| source.path == *path) {
            self.problems.push(Problem::error(format!("{} is included twice", path.display()), Some(wanted_by)));
            return false;
        }
        let Some(included) = self.file::<Included>(path, Some(wanted_by)) else { return false };
        let index = self.sources.files.len() - 1;
        self.merge("apps", &mut written.apps, included.apps, index);
        self.merge("servers", &mut written.servers, included.servers, index);
        self.merge("clients", &mut written.clients, included.clients, index);
        true
    }

    fn merge<V>(&mut self, map: &'static str, into: &mut BTreeMap<String, V>, from: BTreeMap<String, V>, index: usize) {
        for (name, value) in from {
            if let Some(first) = self.sources.owners.get(&(map, name.clone())) {
                let other = self.sources.files[*first].path.clone();
                let excerpt = self.sources.files[index].key(&Place::top().name(map).name(name.as_str()));
                self.problems.push(Problem::error(format!("`{name}` is already among the `{map}` of {}", other.display()), Some(excerpt)));
                continue;
            }
            self.sources.owners.insert((map, name.clone()), index);
            into.insert(name, value);
        }
    }
}

fn own<'a>(owners: &mut BTreeMap<(&'static str, String), usize>, map: &'static str, names: impl Iterator<Item = &'a String>, index: usize) {
    owners.extend(names.map(|name| ((map, name.clone()), index)));
}

/// A file's text, at most [`LARGEST_FILE`] of it.
fn read_text(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| plain_reason(&error))?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if metadata.len() > LARGEST_FILE {
        return Err(format!("it has more than {} MiB", LARGEST_FILE >> 20));
    }
    let bytes = fs::read(path).map_err(|error| plain_reason(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

/// Whether a file name is what a pattern means, where `*` is any text, the empty one too.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else { return false };
            rest = &rest[at + middle.len()..];
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_text() {
        assert!(matches("*.ron", "a.ron"));
        assert!(matches("*.ron", ".ron"));
        assert!(!matches("*.ron", "a.ron~"));
        assert!(matches("a*b*c", "abc"));
        assert!(matches("a*b*c", "axxbyyc"));
        assert!(!matches("a*b*c", "ac"));
        assert!(!matches("a*a", "a"));
        assert!(matches("plain", "plain"));
        assert!(!matches("plain", "plainer"));
    }
}
