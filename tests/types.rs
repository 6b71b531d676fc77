//! The descriptions of the modules under Luau's own type checker: every application of the repository passes, and mistakes are found.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The two type solvers that editors use today.
const SOLVERS: [&str; 2] = ["--fflags=LuauSolverV2=false", "--fflags=LuauSolverV2=true"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of Luau below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.extension().is_some_and(|kind| kind == "luau") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A folder in which `skep new` was called, so that `require("@skep/…")` finds the modules as `types/skep.d.luau` describes them.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        let project = Project(folder);
        let output = project.new_application("begun");
        assert!(output.contains("types/skep"), "{output}");
        project
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// What `skep new NAME` says.
    fn new_application(&self, name: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_skep")).args(["new", name]).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Copies a file to this place below the project.
    fn add(&self, file: &Path, place: &Path) -> PathBuf {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("--!strict\n"), "{} does not begin with --!strict", file.display());
        let to = self.path().join(place);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, text).unwrap();
        to
    }

    /// What the checker says of these files.
    fn check(&self, solver: &str, files: &[PathBuf]) -> String {
        let checker = root().join("target/luau/luau-analyze");
        assert!(checker.exists(), "there is no type checker: tests/peers/luau.sh makes it");
        let output = Command::new(checker).args([solver, "--formatter=gnu"]).args(files).current_dir(self.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), said.is_empty(), "{:?}: {said}", output.status);
        said
    }
}

#[test]
fn every_application_passes() {
    let project = Project::new();
    let apps = root().join("apps");
    let files: Vec<PathBuf> = files_below(&apps).iter().map(|file| project.add(file, file.strip_prefix(root()).unwrap())).collect();
    assert!(files.len() > 10, "the applications are gone");
    for solver in SOLVERS {
        assert_eq!(project.check(solver, &files), "", "{solver}");
    }
}

#[test]
fn what_skep_writes_for_editors_passes_and_what_is_there_stays() {
    let project = Project::new();
    let mut files = files_below(&project.path().join("types"));
    assert!(files.len() > 15, "{files:?}");
    files.extend(files_below(&project.path().join("apps")));
    for solver in SOLVERS {
        assert_eq!(project.check(solver, &files), "", "{solver}");
    }
    assert!(!project.new_application("another").contains(".luaurc"), "it knows `@skep` already");
    let own = r#"{ "languageMode": "strict" }"#;
    fs::write(project.path().join(".luaurc"), own).unwrap();
    assert!(project.new_application("third").contains(r#"add this to .luaurc: "aliases": { "skep": "./types/skep" }"#));
    assert_eq!(fs::read_to_string(project.path().join(".luaurc")).unwrap(), own);
}

#[test]
fn the_application_of_the_readme_passes() {
    let project = Project::new();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let code = readme.split("```lua\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let file = project.path().join("readme.luau");
    fs::write(&file, code).unwrap();
    for solver in SOLVERS {
        assert_eq!(project.check(solver, std::slice::from_ref(&file)), "", "{solver}");
    }
}

/// The complaints of the checker by line, of one file.
fn complaints(said: &str) -> BTreeMap<usize, String> {
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    let mut line = 0;
    for text in said.lines() {
        // FILE:LINE.COLUMN-LINE.COLUMN: KIND: MESSAGE, which may go on in lines of its own.
        let place = text.split_once(".luau:").and_then(|(_, rest)| rest.split('.').next()?.parse().ok());
        line = place.unwrap_or(line);
        let message = found.entry(line).or_default();
        message.push_str(text);
        message.push('\n');
    }
    found
}

#[test]
fn mistakes_are_found_where_they_are() {
    let project = Project::new();
    for file in files_below(&root().join("tests/types/wrong")) {
        let copy = project.add(&file, Path::new(file.file_name().unwrap()));
        let text = fs::read_to_string(&file).unwrap();
        for solver in SOLVERS {
            let mut said = complaints(&project.check(solver, std::slice::from_ref(&copy)));
            for (number, line) in (1..).zip(text.lines()) {
                let place = format!("{}:{number}, {solver}", file.display());
                let complaint = said.remove(&number);
                let Some((_, expected)) = line.split_once("--> ") else {
                    assert_eq!(complaint, None, "{place}: nothing is wrong with this line: {line}");
                    continue;
                };
                let complaint = complaint.unwrap_or_else(|| panic!("{place}: not found: {line}"));
                let expected = expected.trim_matches('\'');
                assert!(complaint.contains(expected), "{place}: {expected:?} is not in {complaint}");
            }
            assert!(said.is_empty(), "{said:?}");
        }
    }
}
