//! `config.ron` as written, then as checked.

use serde::{Deserialize, Serialize};

/// The configuration as checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {}
