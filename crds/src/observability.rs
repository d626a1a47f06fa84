//! Logs, audit, metrics and traces of the runtime, and what browsers may do.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::KeyRef;

/// Logs, audit stream, metrics and traces of the runtime.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.logVolume) || !((has(self.logHandlers) && self.logHandlers.exists(handler, handler.type == 'file')) || (has(self.audit) && self.audit.handlers.exists(handler, handler.type == 'file')))",
    "a handler of type file needs logVolume: name a volume of pod.volumes"
))]
pub struct Observability {
    /// The least severe level that is logged.
    #[serde(default)]
    pub log_level: LogLevel,
    /// One JSON object a line, or text for people.
    #[serde(default)]
    pub log_format: LogFormat,
    /// Where log lines go. Default: the console, which `kubectl logs` shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub log_handlers: Vec<LogHandler>,
    /// Volume of `pod.volumes` for files of logs and audit lines. The operator does not rotate them; a file that somebody
    /// moves away is made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub log_volume: Option<String>,
    /// The audit stream: one JSON line a request, apart from the logs, that says who was allowed to do what. Never arguments,
    /// results or tokens. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// Prometheus metrics.
    #[serde(default)]
    pub metrics: Metrics,
    /// Traces, sent to an OpenTelemetry collector. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Otlp>,
}

/// Where lines go.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(self.type == 'file') == has(self.filename)",
    "type: file needs a filename, and no other type has one"
))]
pub struct LogHandler {
    /// The console, or a file.
    #[serde(rename = "type")]
    pub type_: LogHandlerType,
    /// Name of the file in `logVolume`. Lines are appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = (
        "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",
        "a file name of letters, digits and . _ - without a directory, as in server.log; its directory is logVolume"
    ))]
    pub filename: Option<String>,
}

/// Kind of a handler of lines.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogHandlerType {
    /// Standard output.
    Console,
    /// A file of `logVolume`.
    File,
}

/// The audit stream.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Where its lines go. At the console they stand between those of the log; only they have a `decision`.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub handlers: Vec<LogHandler>,
}

/// Traces, sent to an OpenTelemetry collector by OTLP (`http/protobuf`): one span a request.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Otlp {
    /// URL of the collector, as in http://collector.monitoring.svc:4318; `/v1/traces` is appended.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''",
        "must be an absolute http or https URL, as in http://collector.monitoring.svc:4318"
    ))]
    pub endpoint: String,
    /// Secret key with headers for the collector, as an API key: one `name=value` a line. Mounted, never read by the
    /// operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_secret_ref: Option<KeyRef>,
    /// How many of a million traces that begin here are recorded. A caller that sends a trace context has decided already.
    #[serde(default = "every_trace")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub sampling_rate_per_million: i32,
    /// The `service.name` of the spans. Default: the server's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub service_name: Option<String>,
    /// Seconds after which an attempt to send has failed.
    #[serde(default = "default_export_timeout")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: i32,
}

fn every_trace() -> i32 {
    1_000_000
}

fn default_export_timeout() -> i32 {
    10
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
