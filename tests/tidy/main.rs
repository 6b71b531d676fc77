//! The house rules that a compiler does not check: who may import whom, how long a file may be, where `unsafe` may stand,
//! what must not be left in the tree. ARCHITECTURE.md and CONTRIBUTING.md state them; each rule here is tried on planted sources too.

mod dependencies;
mod layers;
mod paths;
mod rules;
mod source;

use std::fs;
use std::path::Path;

use source::Source;

/// Folders that hold results, not sources.
const NOT_SOURCES: &[&str] = &["target", "dist", "data", "run", "node_modules", ".git"];

/// What is read as text. Everything else (pictures, archives) has no rules.
const TEXT: &[&str] = &["rs", "luau", "ts", "svelte", "css", "html", "toml", "ron", "md", "sh", "yml", "conf", "service", "d"];

/// Every text file of the repository, with its path from the root.
fn tree() -> Vec<Source> {
    let mut sources = Vec::new();
    read(Path::new(""), &mut sources);
    assert!(sources.iter().any(|s| s.path == Path::new("src/lib.rs")), "run from the root of the repository");
    sources
}

fn read(folder: &Path, sources: &mut Vec<Source>) {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut entries: Vec<_> = fs::read_dir(listed).expect("a folder of the tree").map(|entry| entry.expect("an entry")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (folder.join(entry.file_name()), entry.file_type().expect("a file type"));
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !NOT_SOURCES.contains(&name.as_str()) {
            read(&path, sources);
        } else if kind.is_file()
            && (path.extension().is_some_and(|e| TEXT.iter().any(|t| e == *t)) || ["Makefile", "run"].contains(&name.as_str()))
        {
            sources.push(Source::new(&path, fs::read_to_string(&path).expect("UTF-8 text")));
        }
    }
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn rooms_import_only_what_is_below_them() {
    none(&layers::check(&tree()));
}

#[test]
fn every_file_keeps_the_house_rules() {
    let sources = tree();
    for long in sources.iter().filter(|s| rules::is_long(s)) {
        println!("{}: more than {} lines: is it still one thing?", long.path.display(), rules::LONG);
    }
    none(&sources.iter().flat_map(rules::check).collect::<Vec<_>>());
}

#[test]
fn every_dependency_has_its_reason() {
    let text = |path: &str| fs::read_to_string(path).expect("a file of the repository");
    none(&dependencies::check(&[&text("Cargo.toml"), &text("bench/Cargo.toml")], &text("CONTRIBUTING.md")));
    none(&dependencies::check_fuzz_lock(&text("Cargo.toml"), &text("fuzz/Cargo.lock")));
}
