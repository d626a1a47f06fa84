//! Time to the end of the response, by MCP method.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, Registry};

use super::register::histograms;

/// The label of a method that is not MCP's.
const OTHER: &str = "_other";

/// Every method that a client sends, in any revision that is served. The usual ones first.
const KNOWN: [&str; 27] = [
    "tools/call",
    "tools/list",
    "initialize",
    "notifications/initialized",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/elicitation/complete",
    "notifications/tasks/status",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
    OTHER,
];

/// A method as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownMethod(usize);

impl KnownMethod {
    /// The method of that name, or the one that stands for all others.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(KNOWN.iter().position(|known| *known == name).unwrap_or(KNOWN.len() - 1))
    }

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        KNOWN[self.0]
    }
}

pub(super) struct Methods {
    duration: HistogramVec,
    /// In the order of [`KNOWN`]; made at the first use.
    series: [OnceLock<Histogram>; KNOWN.len()],
}

impl Methods {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let duration = histograms(
            registry,
            "mcp_request_duration_seconds",
            "Time to the end of the response, by the MCP method of the message",
            &["method"],
            &[0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0],
        )?;
        Ok(Self { duration, series: [const { OnceLock::new() }; KNOWN.len()] })
    }

    pub(super) fn answered(&self, method: KnownMethod, duration: Duration) {
        let series = self.series[method.0].get_or_init(|| self.duration.with_label_values(&[method.as_str()]));
        series.observe(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_of_mcp_are_labels() {
        let registry = Registry::new();
        let methods = Methods::new(&registry).expect("registered");
        for method in ["tools/call", "tools/call", "evil\"} 1", "x".repeat(4096).as_str()] {
            methods.answered(KnownMethod::of(method), Duration::ZERO);
        }
        let families = registry.gather();
        let labels: Vec<_> =
            families[0].get_metric().iter().map(|metric| metric.get_label()[0].value().to_owned()).collect();
        assert_eq!(labels, [OTHER, "tools/call"]);
    }
}
