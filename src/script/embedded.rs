//! The applications inside the binary.

use include_dir::{Dir, include_dir};

use super::source::Source;

static APPS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/apps");

/// The source of the application of this name, if it is inside the binary.
#[must_use]
pub fn source(name: &str) -> Option<Source> {
    APPS.get_dir(name).map(Source::embedded)
}

/// Every file inside the binary, by its path below `apps/`: what `skep init` and `skep new` write out.
pub fn files(below: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    fn collect(dir: &'static Dir<'static>, found: &mut Vec<(&'static str, &'static [u8])>) {
        // Paths are those of this repository, so they are UTF-8.
        found.extend(dir.files().filter_map(|file| Some((file.path().to_str()?, file.contents()))));
        dir.dirs().for_each(|dir| collect(dir, found));
    }
    let mut found = Vec::new();
    if let Some(dir) = APPS.get_dir(below) {
        collect(dir, &mut found);
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use crate::script::config::EMBEDDED;

    #[test]
    fn what_the_configuration_may_name_is_there() {
        for name in EMBEDDED {
            let source = super::source(name).unwrap();
            assert!(source.entry().unwrap().is_some(), "{name} has an entry file");
            assert!(super::files(name).count() > 1);
        }
        assert!(super::source("nothing").is_none());
    }
}
