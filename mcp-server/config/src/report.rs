//! What `GET /server` on the management port answers. The operator reads it from every pod.
//!
//! It has identity, versions, counts and digests, never the name of a tool: those come from a server nobody vouches for.
//! Readers ignore fields they do not know, and every field but `name` and `version` may be absent: operator and runtime
//! are upgraded one after the other.

use serde::{Deserialize, Serialize};

/// The runtime's account of itself.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerReport {
    /// `server.name` of the configuration.
    pub name: String,
    /// Version of the runtime.
    pub version: String,
    /// The live configuration in use.
    pub live: LiveReport,
    /// The backend and the runtime's own handshake with it.
    pub backend: BackendReport,
    /// The authorization servers, in the order of the configuration.
    pub issuers: Vec<IssuerReport>,
    /// TLS of the MCP listener, where it has one of its own.
    pub tls: Option<TlsReport>,
    /// Where sessions are kept: `memory` or `redis`.
    pub session_store: String,
    /// Requests of a session that another replica holds are forwarded to it, and such are taken here.
    pub forwarding: bool,
    /// The process is ending.
    pub draining: bool,
}

/// The live configuration in use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveReport {
    /// [`digest`](crate::digest) of the live file that is in use.
    pub digest: String,
    /// Why the newest live file was refused, if it was.
    pub error: Option<String>,
}

/// The backend and the runtime's own handshake with it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendReport {
    /// `builtin`, `container`.
    pub kind: String,
    /// The handshake's state.
    pub state: BackendState,
    /// Why the last handshake failed, in fixed wording.
    pub error: Option<String>,
    /// The name the server gives itself.
    pub server_name: Option<String>,
    /// The version the server gives itself.
    pub server_version: Option<String>,
    /// Protocol revisions that clients can use through the runtime, newest first.
    pub protocol_versions: Vec<String>,
    /// How many tools it offers.
    pub tools: Option<u32>,
    /// SHA-256 over the tools' definitions.
    pub tools_digest: Option<String>,
    /// A `container` backend also answers at the pod's own address, past the runtime.
    pub reachable_directly: Option<bool>,
}

/// State of the handshake with the backend.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// Not tried to the end yet.
    #[default]
    Pending,
    /// The last handshake succeeded.
    Ready,
    /// The last handshake failed.
    Failed,
}

/// TLS of the MCP listener.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsReport {
    /// When the certificate in use ends (RFC 3339).
    pub not_after: String,
    /// Why the newest files are refused, if they are.
    pub error: Option<String>,
}

/// One authorization server.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerReport {
    /// Its issuer identifier.
    pub url: String,
    /// Its signing keys have been loaded and are not too old to be used.
    pub ok: bool,
    /// Why the last fetch failed, in fixed wording.
    pub error: Option<String>,
}
