//! What redis takes and refuses, as seen from here.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use super::fault::Fault;

/// From a redis on the same host to one that is nearly given up.
const BUCKETS: [f64; 10] = [0.0001, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0, 5.0];

/// See the module.
pub(super) struct Observed {
    duration: Histogram,
    errors: IntCounterVec,
    /// In the order of [`Fault`].
    by_fault: [IntCounter; 5],
}

impl Observed {
    pub(super) fn new() -> Self {
        let duration = HistogramOpts::new(
            "mcp_redis_command_duration_seconds",
            "Time to the answer of redis: of a command, of several in one, of a script",
        );
        let errors = Opts::new("mcp_redis_errors_total", "Commands that redis did not answer, or refused");
        let errors = IntCounterVec::new(errors, &["reason"]).expect("valid names");
        Self {
            duration: Histogram::with_opts(duration.buckets(BUCKETS.to_vec())).expect("valid names"),
            by_fault: Fault::ALL.map(|fault| errors.with_label_values(&[fault.as_str()])),
            errors,
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.duration.clone()))?;
        registry.register(Box::new(self.errors.clone()))
    }

    pub(super) fn answered(&self, after: Duration) {
        self.duration.observe(after.as_secs_f64());
    }

    pub(super) fn failed(&self, fault: Fault) {
        self.by_fault[fault as usize].inc();
    }
}
