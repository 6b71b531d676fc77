//! Every dependency has a row with its reason in CONTRIBUTING.md, and every row its dependency.

use std::collections::BTreeSet;

/// Names under `[dependencies]`, `[dev-dependencies]`, `[build-dependencies]` and their target-specific forms.
pub fn declared(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let kind = section.rsplit('.').next().unwrap_or(section);
            inside = kind.ends_with("dependencies");
            // `[dependencies.name]`
            if let Some((parent, name)) = section.rsplit_once('.')
                && parent.ends_with("dependencies")
            {
                names.insert(name.to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.']).next().unwrap_or_default().trim();
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// The rows of the dependency table: a name in backquotes, then a reason.
fn reasons(contributing: &str) -> Vec<(String, String)> {
    let table = contributing.split("## Dependencies").nth(1).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("| `")?.split_once('`'))
        .map(|(name, rest)| (name.to_owned(), rest.trim_matches([' ', '|']).to_owned()))
        .collect()
}

/// Compares the manifests with the table.
pub fn check(manifests: &[&str], contributing: &str) -> Vec<String> {
    let declared: BTreeSet<String> = manifests.iter().flat_map(|m| declared(m)).filter(|name| name != "skep").collect();
    let rows = reasons(contributing);
    let explained: BTreeSet<&String> = rows.iter().map(|(name, _)| name).collect();
    let missing = declared
        .iter()
        .filter(|name| !explained.contains(name))
        .map(|name| format!("CONTRIBUTING.md: no reason for the dependency {name}"));
    let stale = rows
        .iter()
        .filter(|(name, _)| !declared.contains(name))
        .map(|(name, _)| format!("CONTRIBUTING.md: {name} is not a dependency any more"));
    let empty =
        rows.iter().filter(|(_, reason)| reason.len() < 10).map(|(name, _)| format!("CONTRIBUTING.md: {name} has no reason in its row"));
    missing.chain(stale).chain(empty).collect()
}

/// What a lock file has for the dependencies of a package.
fn locked(lock: &str, package: &str) -> BTreeSet<String> {
    let name = format!("name = \"{package}\"");
    let block = lock.split("[[package]]").find(|block| block.lines().any(|line| line == name)).unwrap_or_default();
    let entries = block.lines().filter_map(|line| line.trim().strip_prefix('"')?.split(['"', ' ']).next());
    entries.map(str::to_owned).collect()
}

/// Looks whether the lock file of the fuzz targets, which are built by hand, has kept up with skep's dependencies.
pub fn check_fuzz_lock(manifest: &str, lock: &str) -> Vec<String> {
    let (before, after) = manifest.split_once("[dev-dependencies]").unwrap_or((manifest, ""));
    let others = after.split_once("\n[").map_or("", |(_, others)| others);
    let wanted = declared(before).into_iter().chain(declared(&format!("[{others}")));
    let there = locked(lock, "skep");
    let missing = wanted.filter(|name| !there.contains(name));
    missing.map(|name| format!("fuzz/Cargo.lock: {name} is missing; `cargo metadata --manifest-path fuzz/Cargo.toml` adds it")).collect()
}

#[cfg(test)]
mod tests {
    use super::{check, check_fuzz_lock, declared};

    const MANIFEST: &str = "[package]\nname = \"x\"\n[dependencies]\nron = \"1\"\n# a comment\nmlua = { version = \"1\" }\nnix.workspace = true\n[target.x.dev-dependencies]\nproptest = \"1\"\n[dependencies.slab]\nversion = \"1\"\n[profile.dev]\ndebug = 1\n";

    #[test]
    fn every_form_of_a_declaration_is_read() {
        assert_eq!(declared(MANIFEST).into_iter().collect::<Vec<_>>(), ["mlua", "nix", "proptest", "ron", "slab"]);
    }

    #[test]
    fn the_table_and_the_manifest_must_agree() {
        let table = "## Dependencies\n| crate | why |\n|---|---|\n| `ron` | reads the configuration |\n| `mlua` | |\n| `gone` | was useful once |\n## Next\n| `nix` | not in the table |\n";
        let problems = check(&["[dependencies]\nron = \"1\"\nmlua = \"1\"\nnix = \"1\"\n"], table);
        assert_eq!(
            problems,
            [
                "CONTRIBUTING.md: no reason for the dependency nix",
                "CONTRIBUTING.md: gone is not a dependency any more",
                "CONTRIBUTING.md: mlua has no reason in its row"
            ]
        );
    }

    #[test]
    fn a_lock_file_that_fell_behind_is_found() {
        let manifest =
            "[dependencies]\nron = \"1\"\nmlua = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n[build-dependencies]\ncc = \"1\"\n";
        let lock = "[[package]]\nname = \"other\"\ndependencies = [\n \"mlua\",\n]\n\n[[package]]\nname = \"skep\"\ndependencies = [\n \"ron 1.0\",\n \"cc\",\n]\n";
        let problems = check_fuzz_lock(manifest, lock);
        assert!(problems.len() == 1 && problems[0].starts_with("fuzz/Cargo.lock: mlua is missing"), "{problems:?}");
    }
}
