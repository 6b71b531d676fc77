//! Limits by address as the configuration says them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Clients;
use crate::units::HumanRate;

/// How much one address may ask for, of a server or of a route, from all workers together: docs/limits.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests: `"10/s"`, `"300/m"`, `"1000/h"`, `"5/10s"`. More: 429. None: any number.
    pub rate: Option<HumanRate>,
    /// Requests that may come at once; in the long run `rate` holds. None: as many as stand in it (`"10/s"`: 10).
    pub burst: Option<u32>,
    /// Requests under way at the same time, open WebSocket connections among them. More: 429. None: any number.
    pub concurrent: Option<u32>,
    /// Connections open at the same time, of an `Http` server only. On more, the first request gets 429 and then they are closed. None: any number.
    pub connections: Option<u32>,
    /// How many bits of an IPv6 address are one client: what a provider gives to one customer.
    pub ipv6_prefix: u8,
    /// Clients without limits. Who comes by a unix socket never has any: that is a front with clients of its own.
    pub exempt: Vec<Clients>,
    /// Refuses nothing and only says in the log what it would refuse.
    pub dry_run: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rate: None, burst: None, concurrent: None, connections: None, ipv6_prefix: 64, exempt: Vec::new(), dry_run: false }
    }
}

/// The longest time in which a burst is forgiven, microseconds: 30 days.
const LONGEST: u64 = 30 * 86_400 * 1_000_000;

impl Limits {
    /// Requests that may come at once.
    #[must_use]
    pub fn at_once(&self) -> u32 {
        self.burst.or(self.rate.map(HumanRate::count)).unwrap_or(1)
    }

    /// What does not make sense, in words.
    #[must_use]
    pub fn nonsense(&self) -> Option<&'static str> {
        let none = |limit: Option<u32>| limit == Some(0);
        if self.rate.is_none() && self.concurrent.is_none() && self.connections.is_none() {
            return Some("limits need one of `rate`, `concurrent` or `connections`");
        }
        if self.burst.is_some() && self.rate.is_none() {
            return Some("`burst` belongs to a `rate`, as in (rate: \"10/s\", burst: 50)");
        }
        if none(self.burst) || none(self.concurrent) || none(self.connections) {
            return Some("a limit of 0 lets nobody in: it is at least 1; `deny` keeps clients out");
        }
        if self.rate.is_some_and(|rate| rate.price().saturating_mul(self.at_once().into()) > LONGEST) {
            return Some("this `burst` would take longer than 30 days to be used up at this `rate`");
        }
        if !(1..=128).contains(&self.ipv6_prefix) {
            return Some("`ipv6_prefix` is 1 to 128");
        }
        None
    }
}
