//! How a directory of files is served.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::compression::Coding;
use crate::units::{HumanDuration, HumanSize};

/// Files of a directory. Names that begin with a dot are never served, and nothing outside the directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// The directory.
    pub root: PathBuf,
    /// Files that answer for a directory; the first that exists does.
    pub index: Vec<String>,
    /// Whether a directory without an index file shows what is in it.
    pub listing: bool,
    /// Whether symbolic links are followed: relative ones that lead to something inside `root`; absolute ones never. With `false` none are found.
    pub follow_symlinks: bool,
    /// The Cache-Control header, such as `"public, max-age=3600"`. None: no such header.
    pub cache_control: Option<String>,
    /// Content types by file name extension, in addition to the usual ones and before them: `{"foo": "text/x-foo"}`.
    pub types: BTreeMap<String, String>,
    /// Codings in which files may lie compressed beside others, the preferred one first: with `[Brotli, Gzip]` a client that takes it is sent
    /// `app.js.br` for `app.js`, with a tag of its own. One that is older than what it lies beside is not used.
    pub precompressed: Vec<Coding>,
    /// Small files kept in memory.
    pub cache: FileCache,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            index: vec!["index.html".to_owned()],
            listing: false,
            follow_symlinks: true,
            cache_control: None,
            types: BTreeMap::new(),
            precompressed: Vec::new(),
            cache: FileCache::default(),
        }
    }
}

/// Small files kept in memory, in each worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileCache {
    /// How much memory all of them may take. `"0 B"`: nothing is kept.
    pub size: HumanSize,
    /// The largest file that is kept; larger ones are sent from disk.
    pub max_file: HumanSize,
    /// How long a kept file is answered from memory before the disk is asked whether it changed.
    pub check: HumanDuration,
}

impl Default for FileCache {
    fn default() -> Self {
        Self { size: HumanSize::mib(8), max_file: HumanSize::kib(64), check: HumanDuration::seconds(1) }
    }
}
