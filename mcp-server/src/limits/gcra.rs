//! The generic cell rate algorithm: a leaky bucket that is one number, the time at which it would be empty. Checking does
//! not consume, so that several limits can be asked before any is debited. Pure: time comes in.

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

    /// When a bucket that would be empty at `empty_at` is empty if it takes one more request; the error is how long to wait
    /// for that. Times are nanoseconds since any fixed moment.
    pub fn fits(&self, empty_at: u64, now: u64) -> Result<u64, Duration> {
        let next = empty_at.max(now).saturating_add(self.interval);
        match next.checked_sub(now.saturating_add(self.capacity)) {
            None | Some(0) => Ok(next),
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }

    /// Interval and capacity in microseconds, the unit of redis. Rounded up: no window gets wider.
    #[must_use]
    pub fn micros(&self) -> (u64, u64) {
        (self.interval.div_ceil(1000), self.capacity.div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes one, if it fits.
    fn take(empty_at: &mut u64, rate: &Rate, now: u64) -> Result<(), Duration> {
        rate.fits(*empty_at, now).map(|next| *empty_at = next)
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_steady_rate() {
        let rate = Rate::new(60, Duration::from_mins(1), 3);
        let mut bucket = 0;
        for _ in 0..3 {
            assert_eq!(take(&mut bucket, &rate, 0), Ok(()));
        }
        assert_eq!(take(&mut bucket, &rate, 0), Err(Duration::from_secs(1)));
        assert_eq!(take(&mut bucket, &rate, SECOND), Ok(()));
        assert_eq!(take(&mut bucket, &rate, SECOND), Err(Duration::from_secs(1)));
        assert_eq!(take(&mut bucket, &rate, SECOND + SECOND / 2), Err(Duration::from_millis(500)));
    }

    proptest! {
        /// Whatever the arrivals, no window of a period sees more than the burst and the steady rate together.
        #[test]
        fn no_more_than_burst_and_rate(gaps in prop::collection::vec(0u64..2 * SECOND, 1..300), burst in 1u32..20) {
            let rate = Rate::new(10, Duration::from_secs(10), burst);
            let (mut bucket, mut now, mut taken) = (0, 0, 0u64);
            for gap in gaps {
                now += gap;
                taken += u64::from(take(&mut bucket, &rate, now).is_ok());
                prop_assert!(taken <= u64::from(burst) + now / SECOND);
            }
        }

        /// Who waits as long as told is let in.
        #[test]
        fn the_wait_is_exact(burst in 1u32..10, tries in 1usize..40) {
            let rate = Rate::new(7, Duration::from_secs(3), burst);
            let (mut bucket, mut now) = (0, 0);
            for _ in 0..tries {
                if let Err(wait) = take(&mut bucket, &rate, now) {
                    let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                    prop_assert!(rate.fits(bucket, now + wait - 1).is_err());
                    now += wait;
                    prop_assert_eq!(take(&mut bucket, &rate, now), Ok(()));
                }
            }
        }
    }
}
