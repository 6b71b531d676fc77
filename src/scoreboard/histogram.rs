//! Log-linear buckets of latency: each power of two of microseconds is cut in four, so a bucket is at most 25 % wide.

/// How many buckets there are. The last one takes everything from about 114 seconds on.
pub const BUCKETS: usize = 104;

/// The bucket of a duration in microseconds.
#[inline]
#[must_use]
pub fn bucket_of(micros: u64) -> usize {
    if micros < 4 {
        return micros as usize;
    }
    let power = micros.ilog2();
    let quarter = (micros >> (power - 2)) & 3;
    (((power - 1) * 4) as usize + quarter as usize).min(BUCKETS - 1)
}

/// The shortest duration of a bucket, microseconds.
#[must_use]
pub fn bucket_start(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let power = bucket as u32 / 4 + 1;
    let quarter = bucket as u64 % 4;
    (1 << power) + (quarter << (power - 2))
}

/// The duration in microseconds below which `share` (0 to 1) of the answers stayed; 0 without answers. Right to the width of a bucket.
#[must_use]
pub(super) fn percentile(counts: &[u64; BUCKETS], share: f64) -> u64 {
    let total: u64 = counts.iter().sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= wanted && seen > 0 {
            return bucket_start((bucket + 1).min(BUCKETS - 1));
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_start_where_the_one_before_ends() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(bucket_start(bucket)), bucket);
            if bucket > 0 {
                assert_eq!(bucket_of(bucket_start(bucket) - 1), bucket - 1);
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!(bucket_start(BUCKETS - 1) > 100_000_000);
    }

    #[test]
    fn percentiles_of_known_answers() {
        let mut counts = [0; BUCKETS];
        assert_eq!(percentile(&counts, 0.5), 0);
        counts[bucket_of(100)] = 98;
        counts[bucket_of(10_000)] = 2;
        assert_eq!(percentile(&counts, 0.5), 112);
        assert_eq!(percentile(&counts, 0.99), 10_240);
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_quarter_wide(micros in 4u64..100_000_000) {
            let start = bucket_start(bucket_of(micros));
            prop_assert!(start <= micros && (micros - start) * 4 <= start);
        }
    }
}
