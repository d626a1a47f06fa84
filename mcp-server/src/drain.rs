//! How the process ends: where it is on the way, for those who ask. [`crate::serve`] walks it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// The way out, in order.
#[derive(Debug, Default)]
pub struct Drain {
    leaving: OnceLock<Instant>,
    closing: CancellationToken,
    cut: CancellationToken,
}

impl Drain {
    /// Readiness goes; everything is served on, until load balancers have noticed.
    pub fn leave(&self) {
        self.leaving.get_or_init(Instant::now);
    }

    /// The process is ending.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.get().is_some()
    }

    /// For how long it has been.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.leaving.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Connections end as soon as what is under way on them is answered; no new ones are accepted.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Connections are to be closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves when connections are to be closed.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// What is left is dropped.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Resolves when what is left is to be dropped.
    pub async fn cutting(&self) {
        self.cut.cancelled().await;
    }
}
