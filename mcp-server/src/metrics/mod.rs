//! Every metric of the runtime. The first five are those of the deployment document, names and labels exactly; `endpoint`
//! is `server.name`. No label takes a value that a client chooses: a tool counts by name only when it is a known one, a
//! method only when it is MCP's. What a request touches is resolved once, here, and costs a few atomic additions.
//!
//! Other modules register what is theirs with [`register`]; `docs/observability.md` has one line for each metric.

mod methods;
pub(crate) mod register;
mod scraped;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Encoder as _, Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

pub use self::methods::KnownMethod;
use self::methods::Methods;
use self::register::{counters, gauge, gauges, histograms};
pub use self::scraped::Scraped;
pub use self::tools::OTHER_TOOL;
use self::tools::Tools;

/// The limits that every request meets. Others are found by name.
const LIMITS: [&str; 4] = ["client", "principal", "tool", "concurrent_calls"];

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
    const ALL: [Self; 6] =
        [Self::Success, Self::Missing, Self::Invalid, Self::Expired, Self::InsufficientScope, Self::Unavailable];

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

    /// In the order of [`AuthResult::ALL`].
    auth_attempts: [IntCounter; 6],
    auth_duration: Histogram,
    tools: Tools,
    active_connections: IntGauge,

    /// From 1xx to 5xx.
    requests: [IntCounter; 5],
    request_duration: Histogram,
    in_flight: IntGauge,
    streams: IntGauge,
    methods: Methods,
    rate_limit: IntCounterVec,
    /// Allowed and refused, in the order of [`LIMITS`].
    usual_limits: [[IntCounter; 2]; LIMITS.len()],
    reloads: IntCounterVec,
    live_loaded: Gauge,
    draining: IntGauge,
}

impl Metrics {
    /// Registers everything. `endpoint` is `server.name`.
    pub fn new(endpoint: &str) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let build = gauges(&registry, "mcp_server_build_info", "Always 1; the labels say what runs", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);

        let attempts =
            counters(&registry, "mcp_auth_attempts_total", "Total authentication attempts", &["endpoint", "result"])?;
        let auth_duration = histograms(
            &registry,
            "mcp_auth_duration_seconds",
            "Authentication duration in seconds",
            &["endpoint"],
            &[0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0],
        )?;
        let active = gauges(&registry, "mcp_active_connections", "Number of active connections", &["endpoint"])?;
        let requests = counters(
            &registry,
            "mcp_http_requests_total",
            "Requests to the MCP listener by status class, health checks excluded",
            &["code"],
        )?;
        let request_duration = histograms(
            &registry,
            "mcp_http_request_duration_seconds",
            "Time to the response's headers",
            &[],
            &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0],
        )?;
        let rate_limit = counters(
            &registry,
            "mcp_rate_limit_decisions_total",
            "Decisions of the rate limits",
            &["limit", "decision"],
        )?;

        Ok(Arc::new(Self {
            auth_attempts: AuthResult::ALL.map(|result| attempts.with_label_values(&[endpoint, result.as_str()])),
            auth_duration: auth_duration.with_label_values(&[endpoint]),
            tools: Tools::new(&registry, endpoint)?,
            active_connections: active.with_label_values(&[endpoint]),

            requests: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| requests.with_label_values(&[class])),
            request_duration: request_duration.with_label_values::<&str>(&[]),
            in_flight: gauge(&registry, "mcp_http_requests_in_flight", "Requests whose response is not complete")?,
            streams: gauge(&registry, "mcp_active_streams", "Event streams that are open")?,
            methods: Methods::new(&registry)?,
            usual_limits: LIMITS
                .map(|limit| ["allowed", "refused"].map(|decision| rate_limit.with_label_values(&[limit, decision]))),
            rate_limit,
            reloads: counters(&registry, "mcp_config_reloads_total", "Reloads of the live configuration", &["result"])?,
            live_loaded: register::float(
                &registry,
                "mcp_config_last_success_timestamp_seconds",
                "When the live configuration in use was loaded",
            )?,
            draining: gauge(&registry, "mcp_draining", "1 while the process is ending")?,
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
        self.auth_attempts[result as usize].inc();
        self.auth_duration.observe(duration.as_secs_f64());
    }

    /// The tools of the backend: the only names that become labels.
    pub fn set_known_tools(&self, names: impl IntoIterator<Item = String>) {
        self.tools.know(names);
    }

    /// The backend lists a tool of that name.
    #[must_use]
    pub fn knows_tool(&self, name: &str) -> bool {
        self.tools.knows(name)
    }

    /// A tool call begins; it counts as under way until the guard is dropped.
    pub fn tool_call_begins(&self) -> Held {
        Held::new(&self.tools.in_flight)
    }

    /// One finished tool call.
    pub fn tool_call(&self, tool: &str, ok: bool, duration: Duration) {
        self.tools.finished(tool, ok, duration);
    }

    /// Counts a connection of the MCP listener until the guard is dropped.
    pub fn connection(&self) -> Held {
        Held::new(&self.active_connections)
    }

    /// Counts a request until the guard is dropped.
    pub fn request_begins(&self) -> Held {
        Held::new(&self.in_flight)
    }

    /// How many requests have been answered.
    #[must_use]
    pub(crate) fn answered(&self) -> u64 {
        self.requests.iter().map(IntCounter::get).sum()
    }

    /// Requests whose response is not complete.
    #[must_use]
    pub fn requests_in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// The response's headers are known.
    pub fn request_answered(&self, status: u16, duration: Duration) {
        let class = usize::from(status / 100).clamp(1, 5);
        self.requests[class - 1].inc();
        self.request_duration.observe(duration.as_secs_f64());
    }

    /// The response is an event stream; it counts until the guard is dropped.
    pub fn stream(&self) -> Held {
        Held::new(&self.streams)
    }

    /// The response to a message of that method is complete.
    pub fn message_answered(&self, method: KnownMethod, duration: Duration) {
        self.methods.answered(method, duration);
    }

    /// One decision of the limit of that name.
    pub fn rate_limit(&self, limit: &'static str, allowed: bool) {
        match LIMITS.iter().position(|usual| *usual == limit) {
            Some(index) => self.usual_limits[index][usize::from(!allowed)].inc(),
            None => self.rate_limit.with_label_values(&[limit, if allowed { "allowed" } else { "refused" }]).inc(),
        }
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
