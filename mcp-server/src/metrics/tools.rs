//! Tool calls by tool. The series of a tool are there from its first call: a backend may list thousands.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::register::{counters, gauge, histograms};

/// The `tool_name` of a tool that is not in the list of the backend.
pub const OTHER_TOOL: &str = "_other";

pub(super) struct Tools {
    endpoint: String,
    calls: IntCounterVec,
    duration: HistogramVec,
    pub(super) in_flight: IntGauge,
    known: ArcSwap<HashMap<String, Arc<OnceLock<Tool>>>>,
    other: OnceLock<Tool>,
}

/// The series of one tool.
struct Tool {
    success: IntCounter,
    error: IntCounter,
    duration: Histogram,
}

impl Tools {
    pub(super) fn new(registry: &Registry, endpoint: &str) -> Result<Self, prometheus::Error> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            calls: counters(
                registry,
                "mcp_tool_calls_total",
                "Total tool invocations",
                &["endpoint", "tool_name", "result"],
            )?,
            duration: histograms(
                registry,
                "mcp_tool_duration_seconds",
                "Tool execution duration in seconds",
                &["endpoint", "tool_name"],
                &[0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0],
            )?,
            in_flight: gauge(registry, "mcp_tool_calls_in_flight", "Tool calls without a result yet")?,
            known: ArcSwap::default(),
            other: OnceLock::new(),
        })
    }

    pub(super) fn know(&self, names: impl IntoIterator<Item = String>) {
        let before = self.known.load();
        let keep = |name: String| {
            let tool = before.get(&name).cloned().unwrap_or_default();
            (name, tool)
        };
        self.known.store(Arc::new(names.into_iter().map(keep).collect()));
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.known.load().contains_key(name)
    }

    pub(super) fn finished(&self, name: &str, ok: bool, duration: Duration) {
        let known = self.known.load();
        let (slot, name) = known.get(name).map_or((&self.other, OTHER_TOOL), |tool| (&**tool, name));
        let tool = slot.get_or_init(|| self.series(name));
        if ok {
            tool.success.inc();
        } else {
            tool.error.inc();
        }
        tool.duration.observe(duration.as_secs_f64());
    }

    fn series(&self, name: &str) -> Tool {
        let endpoint = self.endpoint.as_str();
        Tool {
            success: self.calls.with_label_values(&[endpoint, name, "success"]),
            error: self.calls.with_label_values(&[endpoint, name, "error"]),
            duration: self.duration.with_label_values(&[endpoint, name]),
        }
    }
}
