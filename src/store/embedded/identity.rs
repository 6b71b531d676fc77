//! New `_id`s: text that sorts as it was made.

use std::time::{SystemTime, UNIX_EPOCH};

/// Makes `_id`s: 24 hexadecimal digits, of which 12 are the time in milliseconds, 6 count within one, and 6 are of this process.
pub(super) struct Identities {
    last: u64,
    count: u32,
    own: u32,
}

impl Identities {
    pub fn new() -> Self {
        // Without randomness the time alone has to tell processes apart.
        Self { last: 0, count: 0, own: getrandom::u32().unwrap_or_default() & 0x00FF_FFFF }
    }

    /// The next one: greater than all before, also when the clock is set back.
    pub fn next(&mut self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        if now > self.last {
            (self.last, self.count) = (now, 0);
        } else if self.count == 0x00FF_FFFF {
            (self.last, self.count) = (self.last + 1, 0);
        } else {
            self.count += 1;
        }
        format!("{:012x}{:06x}{:06x}", self.last, self.count, self.own)
    }
}
