//! The generic cell rate algorithm: a leaky bucket that is one number, the time at which it would be empty. Checking does
//! not consume, so that a limit can be asked before it is known whether the request counts. Pure: time comes in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds between two requests at the steady rate.
    interval: u64,
    /// Nanoseconds that a full bucket holds.
    capacity: u64,
}

impl Rate {
    /// `requests` in each `period`, at most `burst` at once. Zeros count as one.
    #[must_use]
    pub fn new(requests: u32, period: Duration, burst: u32) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let interval = (period / u64::from(requests.max(1))).max(1);
        Self { interval, capacity: interval.saturating_mul(u64::from(burst.max(1))) }
    }

    /// After this time without a request a bucket is as good as new.
    #[must_use]
    pub fn memory(&self) -> Duration {
        Duration::from_nanos(self.capacity)
    }
}

/// One client's bucket. Times are nanoseconds since any fixed moment.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Whether a request would be allowed; the error is how long to wait.
    pub fn check(&self, rate: &Rate, now: u64) -> Result<(), Duration> {
        fits(self.0.load(Ordering::Relaxed), rate, now).map(drop)
    }

    /// Takes one request out of the bucket; the error is how long to wait, and takes nothing.
    pub fn take(&self, rate: &Rate, now: u64) -> Result<(), Duration> {
        let mut empty_at = self.0.load(Ordering::Relaxed);
        loop {
            let next = fits(empty_at, rate, now)?;
            match self.0.compare_exchange_weak(empty_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => empty_at = changed,
            }
        }
    }
}

fn fits(empty_at: u64, rate: &Rate, now: u64) -> Result<u64, Duration> {
    let next = empty_at.max(now).saturating_add(rate.interval);
    match next.checked_sub(now.saturating_add(rate.capacity)) {
        None | Some(0) => Ok(next),
        Some(wait) => Err(Duration::from_nanos(wait)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_allowed_and_then_the_steady_rate() {
        let rate = Rate::new(60, Duration::from_mins(1), 3);
        let bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.take(&rate, 0), Ok(()));
        }
        assert_eq!(bucket.take(&rate, 0), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(&rate, SECOND), Ok(()));
        assert_eq!(bucket.take(&rate, SECOND), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(&rate, SECOND + SECOND / 2), Err(Duration::from_millis(500)));
    }

    #[test]
    fn a_check_takes_nothing() {
        let rate = Rate::new(1, Duration::from_secs(10), 1);
        let bucket = Bucket::default();
        for _ in 0..5 {
            assert_eq!(bucket.check(&rate, 0), Ok(()));
        }
        assert_eq!(bucket.take(&rate, 0), Ok(()));
        assert_eq!(bucket.check(&rate, 0), Err(Duration::from_secs(10)));
    }

    proptest! {
        /// Whatever the arrivals, no window of a period sees more than the burst and the steady rate together.
        #[test]
        fn no_more_than_burst_and_rate(gaps in prop::collection::vec(0u64..2 * SECOND, 1..300), burst in 1u32..20) {
            let rate = Rate::new(10, Duration::from_secs(10), burst);
            let bucket = Bucket::default();
            let (mut now, mut taken) = (0, 0u64);
            for gap in gaps {
                now += gap;
                taken += u64::from(bucket.take(&rate, now).is_ok());
                prop_assert!(taken <= u64::from(burst) + now / SECOND);
            }
        }

        /// Who waits as long as told is let in.
        #[test]
        fn the_wait_is_exact(burst in 1u32..10, tries in 1usize..40) {
            let rate = Rate::new(7, Duration::from_secs(3), burst);
            let bucket = Bucket::default();
            let mut now = 0;
            for _ in 0..tries {
                if let Err(wait) = bucket.take(&rate, now) {
                    let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                    prop_assert!(bucket.check(&rate, now + wait - 1).is_err());
                    now += wait;
                    prop_assert_eq!(bucket.take(&rate, now), Ok(()));
                }
            }
        }
    }
}
