//! How large the tables are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where limits by address are counted, for all servers and workers together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimiterTable {
    /// Addresses that are remembered at the same time, of each limit separately, rounded up to a power of two. With more, those are forgotten
    /// first that owe least. Memory is used only as far as it is needed: 16 bytes an address, and 8 more in each worker for those with
    /// something under way.
    pub addresses: u32,
}

impl Default for LimiterTable {
    fn default() -> Self {
        Self { addresses: 65_536 }
    }
}
