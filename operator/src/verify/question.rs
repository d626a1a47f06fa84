//! What a caller without a token asks through the Service. Pure.

use mcp_server_config::report::ServerReport;
use serde_json::{Value, json};

/// The revision without sessions.
const MODERN: &str = "2026-07-28";

/// A request that is served to whom the server serves, and leaves nothing behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// `tools/list` by the revision without sessions.
    Tools,
    /// `initialize` by this earlier revision: a backend that knows no other serves nothing without a session.
    Initialize(String),
}

impl Question {
    /// The question for a server, by the revisions that its runtime says can be used.
    #[must_use]
    pub fn of(report: Option<&ServerReport>) -> Self {
        let versions = report.map_or(&[][..], |report| &report.backend.protocol_versions);
        match versions.first() {
            Some(newest) if versions.iter().all(|version| version != MODERN) => Self::Initialize(newest.clone()),
            _ => Self::Tools,
        }
    }

    /// The JSON-RPC method.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Initialize(_) => "initialize",
        }
    }

    /// Headers that this revision asks for.
    #[must_use]
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Tools => &[("mcp-protocol-version", MODERN), ("mcp-method", "tools/list")],
            Self::Initialize(_) => &[],
        }
    }

    /// The message.
    #[must_use]
    pub fn body(&self) -> Value {
        let client = json!({"name": "mcp-operator", "version": env!("CARGO_PKG_VERSION")});
        let params = match self {
            Self::Tools => json!({"_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": client,
            }}),
            Self::Initialize(version) => {
                json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client})
            }
        };
        json!({"jsonrpc": "2.0", "id": "verify", "method": self.method(), "params": params})
    }
}
