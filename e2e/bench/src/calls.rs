//! The messages: one call of `echo` with 64 bytes, in both protocol eras, and what belongs to a session.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// The revision without sessions.
const MODERN: &str = "2026-07-28";
/// The newest one with sessions.
const LEGACY: &str = "2025-11-25";

/// 64 bytes.
pub const TEXT: &str = "sphinx of black quartz, judge my vow: 64 bytes for each request.";

/// The protocol era of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28: the request stands alone.
    Modern,
    /// 2025-11-25: within a session.
    Legacy,
}

/// How requests of one client begin: where they go and who sends them.
#[derive(Debug, Clone)]
pub struct Caller {
    port: u16,
    token: Option<String>,
}

impl Caller {
    /// One that calls the server at that port of this machine.
    pub fn new(port: u16, token: Option<String>) -> Self {
        Self { port, token }
    }

    /// The call that is measured. `session` in the legacy era.
    pub fn echo(&self, era: Era, session: Option<&str>) -> Vec<u8> {
        let mut params = json!({"name": "echo", "arguments": {"text": TEXT}});
        let headers = match era {
            Era::Modern => {
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                format!("MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n")
            }
            Era::Legacy => in_session(session),
        };
        self.post(&headers, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
    }

    /// Begins a session.
    pub fn initialize(&self) -> Vec<u8> {
        let params =
            json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}});
        self.post("", &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))
    }

    /// Ends the handshake of a session.
    pub fn initialized(&self, session: &str) -> Vec<u8> {
        self.post(&in_session(Some(session)), &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    }

    /// Opens a session's stream.
    pub fn listen(&self, session: &str) -> Vec<u8> {
        let headers = format!("Accept: text/event-stream\r\n{}", in_session(Some(session)));
        self.request("GET", &headers, "")
    }

    /// Ends a session.
    pub fn end(&self, session: &str) -> Vec<u8> {
        self.request("DELETE", &in_session(Some(session)), "")
    }

    /// Any document.
    pub fn get(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port).into_bytes()
    }

    fn post(&self, headers: &str, message: &Value) -> Vec<u8> {
        let body = message.to_string();
        let headers = format!(
            "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             {headers}",
            body.len()
        );
        self.request("POST", &headers, &body)
    }

    fn request(&self, method: &str, headers: &str, body: &str) -> Vec<u8> {
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let port = self.port;
        format!("{method} /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{token}{headers}\r\n{body}").into_bytes()
    }
}

fn in_session(session: Option<&str>) -> String {
    let session = session.map(|session| format!("Mcp-Session-Id: {session}\r\n")).unwrap_or_default();
    format!("MCP-Protocol-Version: {LEGACY}\r\n{session}")
}

/// The result of the call, as the floor answers it.
pub fn answer() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1,
        "result": {
            "resultType": "complete",
            "content": [{"type": "text", "text": TEXT}],
            "structuredContent": {"text": TEXT},
            "isError": false,
        },
    })
}

/// What the floor says of itself, as an upstream.
pub fn discovered() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1,
        "result": {
            "resultType": "complete", "supportedVersions": [MODERN], "capabilities": {"tools": {}},
            "ttlMs": 0, "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "floor", "version": "0"}},
        },
    })
}

/// Its one tool.
pub fn listed() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1,
        "result": {
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            "tools": [{"name": "echo", "inputSchema": {"type": "object"}}],
        },
    })
}

/// Whether that is the call's result, as JSON or as the last event of a stream.
pub fn check(body: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(body).context("the answer is not text")?;
    let document = match text.trim_start().starts_with('{') {
        true => text,
        false => text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().context("no event has data")?,
    };
    let answer: Value = serde_json::from_str(document).with_context(|| format!("the answer is not JSON: {text}"))?;
    let result = &answer["result"];
    ensure!(
        answer["id"] == 1 && result["content"][0]["text"] == TEXT && result["structuredContent"]["text"] == TEXT,
        "the answer is wrong: {answer}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_64_bytes() {
        assert_eq!(TEXT.len(), 64);
    }

    #[test]
    fn only_the_calls_result_passes() {
        let good = answer().to_string();
        assert!(check(good.as_bytes()).is_ok());
        assert!(check(format!("id: 0\ndata: \n\nevent: message\ndata: {good}\n\n").as_bytes()).is_ok());
        assert!(check(good.replace("sphinx", "sphynx").as_bytes()).is_err());
        assert!(check(good.replace("\"id\":1", "\"id\":2").as_bytes()).is_err());
        assert!(check(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}"#).is_err());
        assert!(check(b"").is_err());
    }
}
