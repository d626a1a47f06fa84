//! Every metric of the runtime. The first five are those of the deployment document, names and labels exactly; `endpoint`
//! is `server.name`. No label takes a value that a client chooses: a tool name counts only when it is a known one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The `tool_name` of a tool that is not in the list of the backend.
pub const OTHER_TOOL: &str = "_other";

/// Result of one authentication: a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthResult {
    /// The token is good.
    Success,
    /// There was none.
    Missing,
    /// It is malformed, or its signature or claims are wrong.
    Invalid,
    /// It was good once.
    Expired,
    /// It lacks a scope.
    InsufficientScope,
    /// It could not be checked: the issuer's keys are not there.
    Unavailable,
}

impl AuthResult {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::InsufficientScope => "insufficient_scope",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The runtime's metrics and the registry that holds them.
pub struct Metrics {
    registry: Registry,
    endpoint: String,
    known_tools: ArcSwap<HashSet<String>>,

    auth_attempts: IntCounterVec,
    auth_duration: Histogram,
    tool_calls: IntCounterVec,
    tool_duration: HistogramVec,
    active_connections: IntGauge,

    requests: IntCounterVec,
    request_duration: Histogram,
    in_flight: IntGauge,
    rate_limit: IntCounterVec,
    reloads: IntCounterVec,
    live_loaded: Gauge,
    draining: IntGauge,
}

impl Metrics {
    /// Registers everything. `endpoint` is `server.name`.
    pub fn new(endpoint: &str) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let auth_duration = histograms(
            &registry,
            "mcp_auth_duration_seconds",
            "Authentication duration in seconds",
            &["endpoint"],
            &[0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0],
        )?;
        let active = gauges(&registry, "mcp_active_connections", "Number of active connections", &["endpoint"])?;
        let build = gauges(&registry, "mcp_server_build_info", "Always 1; the labels say what runs", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);

        Ok(Arc::new(Self {
            auth_attempts: counters(
                &registry,
                "mcp_auth_attempts_total",
                "Total authentication attempts",
                &["endpoint", "result"],
            )?,
            auth_duration: auth_duration.with_label_values(&[endpoint]),
            tool_calls: counters(
                &registry,
                "mcp_tool_calls_total",
                "Total tool invocations",
                &["endpoint", "tool_name", "result"],
            )?,
            tool_duration: histograms(
                &registry,
                "mcp_tool_duration_seconds",
                "Tool execution duration in seconds",
                &["endpoint", "tool_name"],
                &[0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0],
            )?,
            active_connections: active.with_label_values(&[endpoint]),

            requests: counters(
                &registry,
                "mcp_http_requests_total",
                "Requests to the MCP listener by status class, health checks excluded",
                &["code"],
            )?,
            request_duration: histograms(
                &registry,
                "mcp_http_request_duration_seconds",
                "Time to the response's headers",
                &[],
                &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0],
            )?
            .with_label_values::<&str>(&[]),
            in_flight: gauges(
                &registry,
                "mcp_http_requests_in_flight",
                "Requests whose response is not complete",
                &[],
            )?
            .with_label_values::<&str>(&[]),
            rate_limit: counters(
                &registry,
                "mcp_rate_limit_decisions_total",
                "Decisions of the rate limits",
                &["limit", "decision"],
            )?,
            reloads: counters(&registry, "mcp_config_reloads_total", "Reloads of the live configuration", &["result"])?,
            live_loaded: float(
                &registry,
                "mcp_config_last_success_timestamp_seconds",
                "When the live configuration in use was loaded",
            )?,
            draining: gauges(&registry, "mcp_draining", "1 while the process is ending", &[])?
                .with_label_values::<&str>(&[]),

            endpoint: endpoint.to_owned(),
            known_tools: ArcSwap::default(),
            registry,
        }))
    }

    /// Where other modules register metrics of their own.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The text that Prometheus reads, version 0.0.4.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }

    /// One authentication.
    pub fn auth_attempt(&self, result: AuthResult, duration: Duration) {
        self.auth_attempts.with_label_values(&[self.endpoint.as_str(), result.as_str()]).inc();
        self.auth_duration.observe(duration.as_secs_f64());
    }

    /// The tools of the backend: the only names that become labels.
    pub fn set_known_tools(&self, names: impl IntoIterator<Item = String>) {
        self.known_tools.store(Arc::new(names.into_iter().collect()));
    }

    /// One finished tool call.
    pub fn tool_call(&self, tool: &str, ok: bool, duration: Duration) {
        let known = self.known_tools.load();
        let tool = if known.contains(tool) { tool } else { OTHER_TOOL };
        let result = if ok { "success" } else { "error" };
        self.tool_calls.with_label_values(&[self.endpoint.as_str(), tool, result]).inc();
        self.tool_duration.with_label_values(&[self.endpoint.as_str(), tool]).observe(duration.as_secs_f64());
    }

    /// Counts a connection of the MCP listener until the guard is dropped.
    pub fn connection(&self) -> Held {
        Held::new(&self.active_connections)
    }

    /// Counts a request until the guard is dropped.
    pub fn request_begins(&self) -> Held {
        Held::new(&self.in_flight)
    }

    /// The response's headers are known.
    pub fn request_answered(&self, status: u16, duration: Duration) {
        let class = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.with_label_values(&[class]).inc();
        self.request_duration.observe(duration.as_secs_f64());
    }

    /// One decision of the limit of that name.
    pub fn rate_limit(&self, limit: &'static str, allowed: bool) {
        self.rate_limit.with_label_values(&[limit, if allowed { "allowed" } else { "refused" }]).inc();
    }

    /// The live configuration was read anew.
    pub fn reload(&self, ok: bool) {
        self.reloads.with_label_values(&[if ok { "success" } else { "error" }]).inc();
        if ok {
            self.live_loaded.set(jiff::Timestamp::now().as_duration().as_secs_f64());
        }
    }

    /// The process is ending.
    pub fn draining(&self) {
        self.draining.set(1);
    }
}

/// Holds a gauge one higher for as long as it lives.
#[must_use]
pub struct Held(IntGauge);

impl Held {
    /// Raises the gauge.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn float(registry: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let metric = Gauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
