//! Logs and metrics of the runtime, and what browsers may do.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logs and metrics of the runtime.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Observability {
    /// The least severe level that is logged.
    #[serde(default)]
    pub log_level: LogLevel,
    /// One JSON object a line, or text for people.
    #[serde(default)]
    pub log_format: LogFormat,
    /// Prometheus metrics.
    #[serde(default)]
    pub metrics: Metrics,
}

/// A log level.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warning,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Form of the log lines.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Text for people.
    Text,
}

/// Prometheus metrics of the runtime, on its management port.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Serve the metrics. The management port's other paths stay.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// The management port. Default: 9090, or 19090 beside a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    #[x_kube(validation = (
        "!(self in [8000, 8443, 18000, 18443])",
        "ports 8000, 8443, 18000 and 18443 serve MCP: choose another port"
    ))]
    pub port: Option<i32>,
    /// Path of the metrics.
    #[serde(default = "default_path")]
    #[schemars(length(min = 2, max = 128))]
    #[x_kube(validation = (
        "self.matches('^(/[A-Za-z0-9._~-]+)+$') && !(self in ['/livez', '/readyz', '/server'])",
        "must begin with '/', without query, and not be /livez, /readyz or /server"
    ))]
    pub path: String,
    /// A ServiceMonitor for the Prometheus operator. A NetworkPolicy admits Prometheus only where the chart's
    /// `runtime.networkPolicy.metricsFrom` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_monitor: Option<ServiceMonitor>,
}

/// A ServiceMonitor for the Prometheus operator.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitor {
    /// Labels by which Prometheus chooses it, as in `release: prometheus`. The operator's own are kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Time between two scrapes, as in 30s. Default: Prometheus' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 8))]
    #[x_kube(validation = ("self.matches('^[1-9][0-9]{0,5}(ms|s|m|h)$')", "write a number and ms, s, m or h, as in 30s"))]
    pub interval: Option<String>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true, port: None, path: default_path(), service_monitor: None }
    }
}

fn enabled() -> bool {
    true
}

fn default_path() -> String {
    "/metrics".to_owned()
}

/// Cross-origin resource sharing: which web pages may call the server from a browser.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins of web pages, as in https://claude.ai. Default: none; requests from other origins are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Set,
        validation = (
            "self.all(origin, origin.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$'))",
            "an origin is scheme://host[:port] without path, as in https://claude.ai"
        )
    )]
    pub allowed_origins: Vec<String>,
    /// Methods that such pages may use. Default: GET, POST, DELETE.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(regex(pattern = r"^[A-Z]{1,16}$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub allowed_methods: Vec<String>,
    /// Response headers that such pages may read. Default: Mcp-Session-Id, WWW-Authenticate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[A-Za-z0-9-]{1,64}$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub expose_headers: Vec<String>,
    /// Seconds for which browsers remember these rules.
    #[serde(default = "default_max_age")]
    #[schemars(range(min = 0, max = 86400))]
    pub max_age_seconds: i32,
}

fn default_max_age() -> i32 {
    3600
}
