//! The boot file: what cannot change while the runtime runs.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::limits::RateLimits;
use crate::live::{Auth, Cors, Http, LogLevel};
use crate::policy::Tools;
use crate::redis::Redis;
use crate::tls::Tls;

/// The whole configuration of a runtime.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format: 1.
    #[serde(rename = "formatVersion", default = "one")]
    pub format_version: u32,
    /// Name, address and path of the MCP endpoint.
    #[serde(default)]
    pub server: Server,
    /// See [`Tls`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What answers the MCP calls. Default: the built-in tools.
    #[serde(default)]
    pub backend: Backend,
    /// The redis that replicas share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// The database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// Sessions of the 2025 protocol revisions.
    #[serde(default)]
    pub sessions: Sessions,
    /// The management listener: metrics, probes, `/server`.
    #[serde(default)]
    pub metrics: Metrics,
    /// Logs.
    #[serde(default)]
    pub logging: Logging,
    /// The audit stream: who was allowed to do what.
    #[serde(default, skip_serializing_if = "Audit::is_off")]
    pub audit: Audit,
    /// Traces, sent to an OpenTelemetry collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otel: Option<Otel>,
    /// How the process ends.
    #[serde(default)]
    pub drain: Drain,
    /// Secret keys shared by all replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// How replicas reach each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,

    /// See [`Live::auth`](crate::Live::auth). Refused here when a live file is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// See [`Live::http`](crate::Live::http). Refused here when a live file is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// See [`Live::rate_limits`](crate::Live::rate_limits). Refused here when a live file is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// See [`Live::cors`](crate::Live::cors). Refused here when a live file is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// See [`Live::tools`](crate::Live::tools). Refused here when a live file is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Tools>,
}

fn one() -> u32 {
    1
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format_version: one(),
            server: Server::default(),
            tls: None,
            backend: Backend::default(),
            redis: None,
            database: None,
            sessions: Sessions::default(),
            metrics: Metrics::default(),
            logging: Logging::default(),
            audit: Audit::default(),
            otel: None,
            drain: Drain::default(),
            keys: None,
            peers: None,
            auth: None,
            http: None,
            rate_limits: None,
            cors: None,
            tools: None,
        }
    }
}

impl Config {
    /// Port of the MCP endpoint.
    #[must_use]
    pub fn mcp_port(&self) -> u16 {
        self.server.port.unwrap_or(if self.tls.is_some() { 8443 } else { 8000 })
    }
}

/// Name, address and path of the MCP endpoint.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Name of the server: the `endpoint` label of its metrics.
    pub name: String,
    /// Address to listen at. 127.0.0.1 alone; pods listen at every address.
    pub host: IpAddr,
    /// Port of the MCP endpoint. Default: 8000, with `tls` 8443.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of the MCP endpoint.
    pub path: String,
    /// Only `streamable-http`.
    pub transport: Transport,
    /// The longest time in seconds that one stream or call may last.
    pub stream_timeout_seconds: u32,
    /// Largest request body in bytes.
    pub max_request_body_bytes: u32,
    /// Seconds without a request after which a connection is closed. Write more than the proxy in front keeps its own
    /// open: who closes first should be the proxy, or it sends a request into a closing connection. Default: 120.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u32>,
    /// Connections at once on a listener. More wait until one ends. Default: 8192.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            name: "mcp-server".to_owned(),
            host: IpAddr::from([127, 0, 0, 1]),
            port: None,
            path: "/mcp".to_owned(),
            transport: Transport::StreamableHttp,
            stream_timeout_seconds: 3600,
            max_request_body_bytes: 4 * 1024 * 1024,
            idle_timeout_seconds: None,
            max_connections: None,
        }
    }
}

impl Server {
    /// See the field. Longer than nginx (60 s) and Traefik (90 s) keep theirs.
    #[must_use]
    pub fn idle_timeout_seconds(&self) -> u32 {
        self.idle_timeout_seconds.unwrap_or(120)
    }

    /// See the field.
    #[must_use]
    pub fn max_connections(&self) -> u32 {
        self.max_connections.unwrap_or(8192)
    }
}

/// The MCP transport.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP, the only one that is served.
    #[serde(rename = "streamable-http")]
    StreamableHttp,
}

/// What answers the MCP calls. Exactly one member.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The runtime's own demonstration and diagnostic tools.
    Builtin(Builtin),
    /// An MCP server that speaks Streamable HTTP.
    Container(Container),
}

impl Default for Backend {
    fn default() -> Self {
        Self::Builtin(Builtin {})
    }
}

impl Backend {
    /// Name of the member, as in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Builtin(_) => "builtin",
            Self::Container(_) => "container",
        }
    }
}

/// The runtime's own tools; nothing to set.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Builtin {}

/// An MCP server that speaks Streamable HTTP.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Its MCP endpoint, as in http://127.0.0.1:8000/mcp.
    pub url: Url,
    /// It keeps no session state: any replica answers any request.
    #[serde(default)]
    pub stateless: bool,
}

/// The database: PostgreSQL or SQLite. Exactly one of `url` and `url_file`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// URL: postgresql://[user:password@]host[:port]/database, or sqlite:/path/to/file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File with the URL. It is read again when it changes; connections that are open stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Connections that are kept open.
    #[serde(default = "default_pool_size")]
    pub pool_size: u32,
    /// Connections beyond `pool_size` under load; each is closed after its use.
    #[serde(default = "default_max_overflow")]
    pub max_overflow: u32,
    /// Log each statement, without the values bound to it.
    #[serde(default)]
    pub echo: bool,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            pool_size: default_pool_size(),
            max_overflow: default_max_overflow(),
            echo: false,
        }
    }
}

impl std::fmt::Debug for Database {
    /// Without the URL, which may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("url", &self.url.as_ref().map(|_| "redacted"))
            .field("url_file", &self.url_file)
            .field("pool_size", &self.pool_size)
            .field("max_overflow", &self.max_overflow)
            .field("echo", &self.echo)
            .finish()
    }
}

fn default_pool_size() -> u32 {
    20
}

fn default_max_overflow() -> u32 {
    10
}

/// Sessions of the 2025 protocol revisions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Where sessions are kept. Default: redis where it is configured, else memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<SessionStore>,
    /// Seconds without a request after which a session ends.
    pub idle_timeout_seconds: u32,
    /// Sessions at once in this process. Default: what the memory limit of the process allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Sessions at once of one principal: a token's issuer and subject, without a token the client's address. With sessions
    /// in redis it is that of all replicas together; without, each gives its share, rounded up. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_principal: Option<u32>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { store: None, idle_timeout_seconds: 1800, max: None, max_per_principal: None }
    }
}

/// Where sessions are kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SessionStore {
    /// In this process.
    Memory,
    /// In redis: any replica serves any session.
    Redis,
}

/// The management listener: metrics, `/livez`, `/readyz`, `/server`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Serve the metrics. The listener's other paths stay.
    pub enabled: bool,
    /// Port of the management listener.
    pub port: u16,
    /// Path of the metrics.
    pub path: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true, port: 9090, path: "/metrics".to_owned() }
    }
}

/// Logs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Logging {
    /// The least severe level that is logged. A live file's level is stronger.
    pub level: LogLevel,
    /// JSON, or text for people.
    pub format: LogFormat,
    /// Where lines go. Default: the console.
    pub handlers: Vec<Handler>,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Json, handlers: vec![Handler::Console {}] }
    }
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

/// Where log lines go.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Handler {
    /// Standard output.
    Console {},
    /// Appended to a file.
    File {
        /// Path of the file.
        filename: PathBuf,
    },
}

/// The audit stream: one JSON line a request, apart from the logs. Never arguments, results or tokens.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Where lines go. Default: nowhere.
    pub handlers: Vec<Handler>,
}

impl Audit {
    /// Nothing is written.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.handlers.is_empty()
    }
}

/// Traces, sent to an OpenTelemetry collector by OTLP: one span a request.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Otel {
    /// URL of the collector, as in http://collector:4318; `/v1/traces` is appended.
    pub endpoint: Url,
    /// Only `http/protobuf`.
    #[serde(default)]
    pub protocol: OtelProtocol,
    /// File with headers for the collector, as an API key: one `name=value` a line. It is read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<PathBuf>,
    /// Which part of the traces that begin here is recorded, from 0 to 1. Who sends a trace context has decided already.
    #[serde(default = "default_ratio")]
    pub sample_ratio: f64,
    /// The `service.name` of the spans. Default: `server.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Seconds after which an attempt to send has failed.
    #[serde(default = "default_export_timeout")]
    pub timeout: u32,
}

impl Otel {
    /// One with defaults.
    #[must_use]
    pub fn new(endpoint: Url) -> Self {
        Self {
            endpoint,
            protocol: OtelProtocol::default(),
            headers_file: None,
            sample_ratio: default_ratio(),
            service_name: None,
            timeout: default_export_timeout(),
        }
    }
}

/// The OTLP transport.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtelProtocol {
    /// The default of OTLP, and the only one that is spoken.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

fn default_ratio() -> f64 {
    1.0
}

fn default_export_timeout() -> u32 {
    10
}

/// How the process ends on SIGTERM.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// Seconds between the loss of readiness and the closing of the listener: load balancers need it to notice.
    pub grace_seconds: u32,
    /// Seconds that calls under way are given.
    pub timeout_seconds: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { grace_seconds: 0, timeout_seconds: 30 }
    }
}

/// Secret keys shared by all replicas. Without them keys are made at start and live with the process.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Directory with one file a key: `session`, `request-state` and `peer`, each 32 bytes or more. They are read again when
    /// they change. A key is changed without losing anything by keeping the one before as `session.previous`, or announcing
    /// the coming one as `session.next`: both are recognized, and so with the other two. Of `request-state` and `peer` the one
    /// before is recognized for a while also without a file: for 16 and for 5 minutes.
    pub dir: PathBuf,
}

/// How replicas reach each other. A session whose state lives in one replica is served there, wherever its requests land;
/// that needs `redis` and `keys`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Peers {
    /// Address and port at which other replicas reach this one's management listener, as in 10.0.0.7:9090. Default: this
    /// host's address and `metrics.port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
}
