//! What editors read to know `@skep`: a `.luaurc` with its alias, and a module of types for each of skep's.
//!
//! Luau's own tools (luau-analyze, luau-lsp) take aliases of `require` from `.luaurc` files in the folder of a script or above it
//! (Luau's RFC "Configure analysis via .luaurc").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::init::write_new;
use crate::script::modules::ALL;

/// Every type of every module.
const DEFINITIONS: &str = include_str!("../../types/skep.d.luau");
/// Where the types go. They are written anew by every `skep new`, so that they are those of this version.
const TYPES: &str = "types/skep";
const SETTINGS: &str = "{\n    \"aliases\": { \"skep\": \"./types/skep\" }\n}\n";

/// Writes the files below `directory`. A `.luaurc` that is there stays as it is; gives what to add to it where it does not know `@skep`.
///
/// # Errors
/// The reason, for people.
pub fn write(directory: &Path) -> Result<Option<&'static str>, String> {
    let types = directory.join(TYPES);
    for (name, text) in modules() {
        let path = types.join(name);
        let written = fs::create_dir_all(&types).and_then(|()| fs::write(&path, text));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let settings = directory.join(".luaurc");
    match fs::read_to_string(&settings) {
        Ok(text) if text.contains("\"skep\"") => Ok(None),
        Ok(_) => Ok(Some("\"aliases\": { \"skep\": \"./types/skep\" }")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_new(&settings, SETTINGS.as_bytes()).map(|()| None),
        Err(error) => Err(format!("{}: {error}", settings.display())),
    }
}

/// The files of types by name: all definitions once, and what each module of skep gives.
fn modules() -> impl Iterator<Item = (PathBuf, String)> {
    let definitions = (PathBuf::from("definitions.luau"), format!("--!strict\n{DEFINITIONS}\nreturn nil\n"));
    let modules = ALL.iter().map(|module| {
        // `@skep` has every type, so that an application needs no second `require` for the name of one.
        let (file, from, text) = match module.name {
            "skep" => ("init".to_owned(), "@self/definitions", DEFINITIONS),
            name => (name.to_owned(), "./definitions", module.types),
        };
        let mut lines = format!("--!strict\nlocal definitions = require(\"{from}\")\n");
        for name in exported(text) {
            lines.extend(["export type ", name, " = definitions.", name, "\n"]);
        }
        lines.extend(["return (nil :: any) :: definitions.", module.name, "\n"]);
        (PathBuf::from(format!("{file}.luau")), lines)
    });
    std::iter::once(definitions).chain(modules)
}

/// The names of the types that a description exports.
fn exported(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("export type ")?.split_once(" =").map(|(name, _)| name))
}
