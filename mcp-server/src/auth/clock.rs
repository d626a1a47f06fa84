//! The time, as something a test can turn: no test of this module waits for a real clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time and waits.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Seconds since 1970: what tokens are compared with.
    fn unix(&self) -> u64;

    /// Time since some fixed moment, never going back: what ages are measured with.
    fn monotonic(&self) -> Duration;

    /// Ends when `duration` has passed on [`Clock::monotonic`].
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The time of the machine.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix(&self) -> u64 {
        // A clock before 1970 is broken. Fail closed: in the far future every token has expired.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX / 2, |elapsed| elapsed.as_secs())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
