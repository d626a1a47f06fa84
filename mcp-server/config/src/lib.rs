//! What the operator and the runtime say to each other, and what a person writes to run the runtime alone.
//!
//! ```text
//! Config (boot file)  ── server, tls, backend, redis, database, sessions, metrics, logging, audit, otel, drain, keys:
//!                         need a restart
//! Live   (live file)  ── auth, http, rate_limits, cors, tools, logging level: reloaded while running
//! report::ServerReport ── what GET /server answers: the operator reads it
//! ```
//!
//! Alone, one file holds the sections of both. In a pod the operator writes two files, and the sections of [`Live`] may
//! stand in the live file only. This crate has types and checks; it opens no file and knows no Kubernetes.

mod boot;
mod check;
mod environment;
mod issuer;
mod limits;
mod live;
mod parse;
mod policy;
mod redis;
pub mod report;
mod tls;
mod unknown;

pub use boot::{
    Audit, Backend, Builtin, Config, Container, Database, Drain, Handler, Keys, LogFormat, Logging, Metrics, Otel,
    OtelProtocol, Peers, Server, SessionStore, Sessions, Transport,
};
pub use check::{check_database_url, check_together};
pub use environment::Environment;
pub use limits::{Count, PerClient, PerPrincipal, PerTool, RateLimits};
pub use live::{
    Algorithm, Anonymous, Auth, Cors, Http, Introspected, Introspection, Issuer, Live, LogLevel, PublicUrl,
};
pub use parse::{FORMAT_VERSION, Invalid, Unknown, digest, parse_boot, parse_live};
pub use policy::{MethodScopes, ToolScopes, Tools};
pub use redis::{Cluster, Redis, Sentinel};
pub use tls::{CipherFamily, Ciphers, ClientAuth, Tls, TlsVersion};

/// The JSON Schema of the boot file, which alone holds every section of the live file too.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}
