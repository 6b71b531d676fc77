//! How often an address may send a wrong password: no more at once, and in each minute, than it is allowed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses that are remembered. When there are more, the one that would be forgiven first is forgotten.
const MOST: usize = 4096;
/// The time in which an address may fail as often as it is allowed.
const WINDOW: Duration = Duration::from_mins(1);

/// Who failed lately. The time of each is when its failures will all be forgiven (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug)]
pub(super) struct Failures {
    attempts: u32,
    forgiven_at: HashMap<IpAddr, Instant>,
}

/// An address as it is counted: of IPv6 the first 64 bits, which is what one customer has at least.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

impl Failures {
    pub(super) fn new(attempts: u32) -> Self {
        Self { attempts: attempts.max(1), forgiven_at: HashMap::new() }
    }

    /// What one failure costs.
    fn price(&self) -> Duration {
        WINDOW / self.attempts
    }

    /// Counts an attempt as failed before it is made, so that many at once are no way around.
    ///
    /// # Errors
    /// It may not be made before this much time has passed.
    pub(super) fn charge(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let price = self.price();
        let key = counted(address);
        let next = self.forgiven_at.get(&key).copied().unwrap_or(now).max(now) + price;
        if let Some(wait) = next.saturating_duration_since(now).checked_sub(price * self.attempts).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if self.forgiven_at.len() >= MOST && !self.forgiven_at.contains_key(&key) {
            self.make_room(now);
        }
        self.forgiven_at.insert(key, next);
        Ok(())
    }

    /// The attempt did not fail after all.
    pub(super) fn refund(&mut self, address: IpAddr, now: Instant) {
        let key = counted(address);
        let price = self.price();
        let Some(until) = self.forgiven_at.get_mut(&key) else { return };
        match until.checked_sub(price).filter(|until| *until > now) {
            Some(earlier) => *until = earlier,
            None => {
                self.forgiven_at.remove(&key);
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.forgiven_at.retain(|_, until| *until > now);
        if self.forgiven_at.len() >= MOST
            && let Some(first) = self.forgiven_at.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
        {
            self.forgiven_at.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_forgiven_one_after_the_other() {
        let mut failures = Failures::new(3);
        let (now, address) = (Instant::now(), "192.0.2.1".parse().unwrap());
        for _ in 0..3 {
            failures.charge(address, now).unwrap();
        }
        assert_eq!(failures.charge(address, now), Err(Duration::from_secs(20)));
        assert_eq!(failures.charge("192.0.2.2".parse().unwrap(), now), Ok(()));
        assert_eq!(failures.charge(address, now + Duration::from_secs(20)), Ok(()));
        assert!(failures.charge(address, now + Duration::from_secs(20)).is_err());
        failures.refund(address, now + Duration::from_secs(20));
        assert_eq!(failures.charge(address, now + Duration::from_secs(20)), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let mut failures = Failures::new(1);
        let now = Instant::now();
        failures.charge("2001:db8::1".parse().unwrap(), now).unwrap();
        assert!(failures.charge("2001:db8::2".parse().unwrap(), now).is_err());
        failures.charge("2001:db8:0:1::1".parse().unwrap(), now).unwrap();
        assert_eq!(counted("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut failures = Failures::new(10);
        let now = Instant::now();
        for number in 0..(MOST as u32 + 100) {
            failures.charge(IpAddr::V4(number.into()), now).unwrap();
        }
        assert_eq!(failures.forgiven_at.len(), MOST);
    }
}
