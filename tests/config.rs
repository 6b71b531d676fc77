//! What `config.ron` may say, and how it is told what is wrong: one file a case in `tests/config/cases`, its answer beside it,
//! `NAME.json` (the settings that differ from those of an empty file, and the warnings) or `NAME.error` (what the user reads).
//!
//! `SKEP_REWRITE=1 cargo test --test config` writes the answers anew; read the difference before you keep it.

#![allow(clippy::unwrap_used)] // A test that cannot read its own files has nothing else to say.

#[path = "config/reference.rs"]
mod reference;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value};
use skep::config::{ConfigErrors, Loaded, Problem, load_with};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/cases")
}

fn rewriting() -> bool {
    std::env::var_os("SKEP_REWRITE").is_some()
}

fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    load_with(Some(path), &|name| (name == "ADDRESS").then(|| "127.0.0.1".to_owned()))
}

/// Whether the answer is the same for root and for a normal user.
fn is_universal(problem: &Problem) -> bool {
    !problem.message.contains("needs root")
}

fn settings(loaded: &Loaded) -> Map<String, Value> {
    match serde_json::to_value(&loaded.settings).unwrap() {
        Value::Object(map) => map,
        other => panic!("settings are an object, not {other}"),
    }
}

/// The answer to a case: the ending of its file and its text, without the names of this machine.
fn answer(path: &Path, empty: &Map<String, Value>) -> (&'static str, String) {
    let (ending, text) = match load(path) {
        Ok(loaded) => {
            let mut shown: Map<String, Value> =
                settings(&loaded).into_iter().filter(|(key, value)| key != "file" && empty.get(key) != Some(value)).collect();
            let warnings = loaded
                .warnings
                .iter()
                .filter(|problem| is_universal(problem))
                .map(|problem| Value::from(problem.line()))
                .collect::<Vec<_>>();
            if !warnings.is_empty() {
                shown.insert("warnings".to_owned(), warnings.into());
            }
            ("json", serde_json::to_string_pretty(&shown).unwrap() + "\n")
        }
        Err(mut errors) => {
            errors.problems.retain(is_universal);
            ("error", errors.render(false))
        }
    };
    (ending, text.replace(&format!("{}/", cases().display()), "").replace(&cases().display().to_string(), "."))
}

#[test]
fn every_case_has_its_answer() {
    let empty = settings(&load(&cases().join("empty.ron")).unwrap());
    let mut paths: Vec<PathBuf> = fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ron"));
    paths.sort();
    assert!(paths.len() >= 40, "{} cases", paths.len());
    let mut wrong = Vec::new();
    for path in &paths {
        let (ending, text) = answer(path, &empty);
        let expected = path.with_extension(ending);
        let other = path.with_extension(if ending == "json" { "error" } else { "json" });
        if rewriting() {
            fs::write(&expected, &text).unwrap();
            if other.exists() {
                fs::remove_file(&other).unwrap();
            }
        } else if fs::read_to_string(&expected).ok().as_ref() != Some(&text) || other.exists() {
            wrong.push(format!("{}:\n{text}", path.file_name().unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases have another answer than is kept beside them:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/config.md");
    let page = reference::page(&skep::config::schema());
    if rewriting() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page).unwrap();
    } else {
        assert!(
            fs::read_to_string(&path).is_ok_and(|kept| kept == page),
            "run `SKEP_REWRITE=1 cargo test --test config` and keep the new page"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A slip of the pen anywhere in the file gives settings or an error with a place in it, and never ends the program.
    #[test]
    fn any_damage_is_told(at in 0.0..1.0, cut in 0_usize..12, put in "[\\PC\n(){}\\[\\]:,\"$/*]{0,4}") {
        let text = skep::config::initial_text(false);
        let start = text.floor_char_boundary((at * text.len() as f64) as usize);
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        let damaged = format!("{}{put}{}", &text[..start], &text[end.max(start)..]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.ron");
        fs::write(&file, &damaged).unwrap();
        if let Err(errors) = load(&file) {
            prop_assert!(!errors.problems.is_empty());
            for problem in &errors.problems {
                let shown = problem.render(false);
                let excerpt = problem.excerpt.as_ref();
                prop_assert!(excerpt.is_some_and(|excerpt| excerpt.line <= damaged.lines().count() + 1), "{shown}");
                prop_assert!(!problem.message.is_empty());
            }
        }
    }
}
