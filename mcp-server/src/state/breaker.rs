//! Keeps callers from waiting for something that is away: after a failure all are refused for a moment, then one may try
//! while the others are still refused. Time is given by the caller, in milliseconds since any fixed moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CLOSED: u64 = 0;

/// See the module.
pub(crate) struct Breaker {
    pause: u64,
    /// How long the one that tries is waited for. It may be dropped without an outcome.
    lease: u64,
    /// Callers are refused until then; [`CLOSED`]: none is.
    refused_until: AtomicU64,
}

impl Breaker {
    pub(crate) fn new(pause: Duration, lease: Duration) -> Self {
        Self { pause: millis(pause), lease: millis(lease), refused_until: AtomicU64::new(CLOSED) }
    }

    /// Whether the caller may try.
    pub(crate) fn admits(&self, now: u64) -> bool {
        let until = self.refused_until.load(Ordering::Relaxed);
        if until == CLOSED {
            return true;
        }
        // Of those that come after the pause one wins.
        let trying = now.saturating_add(self.lease).max(1);
        now >= until && self.refused_until.compare_exchange(until, trying, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// No caller is refused. Unlike [`Breaker::admits`] this lets nobody try.
    pub(crate) fn is_closed(&self) -> bool {
        self.refused_until.load(Ordering::Relaxed) == CLOSED
    }

    pub(crate) fn succeeded(&self) {
        self.refused_until.store(CLOSED, Ordering::Relaxed);
    }

    /// Returns whether this is news.
    pub(crate) fn failed(&self, now: u64) -> bool {
        self.refused_until.swap(now.saturating_add(self.pause).max(1), Ordering::Relaxed) == CLOSED
    }
}

/// Saturates.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Duration::from_millis(10), Duration::from_millis(50))
    }

    #[test]
    fn after_the_pause_one_tries_and_the_others_are_refused() {
        let breaker = breaker();
        assert!(breaker.admits(0) && breaker.admits(0));
        assert!(breaker.failed(100));
        assert!(!breaker.admits(109));
        assert!(breaker.admits(110));
        assert!(!breaker.admits(110) && !breaker.admits(159));
        assert!(!breaker.failed(160), "no news");
        assert!(!breaker.admits(169) && breaker.admits(170));
        breaker.succeeded();
        assert!(breaker.admits(170) && breaker.admits(170));
    }

    #[test]
    fn one_that_never_tells_is_replaced() {
        let breaker = breaker();
        breaker.failed(0);
        assert!(breaker.admits(10));
        assert!(!breaker.admits(59));
        assert!(breaker.admits(60));
    }
}
