//! How many locks there may be, and for how long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::HumanDuration;

/// Bounds of the locks of this machine, of lock servers and of `@skep/lock` alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Names that are held or waited for at the same time. Of 262144 or more, 65536 are for jobs that workers take without the hub.
    pub names: u32,
    /// Parties that wait for one name.
    pub waiters: u32,
    /// Names that one party (a connection, a session) holds or waits for.
    pub each: u32,
    /// The longest lease. A longer one that is asked for is given as this.
    pub longest_lease: HumanDuration,
    /// The longest wait for a lease. A longer one that is asked for ends then.
    pub longest_wait: HumanDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 1_000_000,
            waiters: 10_000,
            each: 10_000,
            longest_lease: HumanDuration::seconds(600),
            longest_wait: HumanDuration::seconds(3600),
        }
    }
}
