//! MCP messages by hand, for what a well-behaved client would not show: each request alone, by either protocol era.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Endpoint, Events};

/// The stateless revision.
pub const MODERN: &str = "2026-07-28";
/// The newest revision with sessions.
pub const LEGACY: &str = "2025-11-25";

const PREFIX: &str = "io.modelcontextprotocol/";

/// A caller of one MCP endpoint.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where it calls.
    pub endpoint: Endpoint,
    /// The path of the endpoint.
    pub path: String,
    /// Its token, if it has one.
    pub token: Option<String>,
}

impl Caller {
    /// A caller without a token.
    #[must_use]
    pub fn new(endpoint: Endpoint, path: &str) -> Self {
        Self { endpoint, path: path.to_owned(), token: None }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same at a server whose certificate is by another authority.
    #[must_use]
    pub fn trusting(&self, trust: Arc<rustls::ClientConfig>) -> Self {
        Self { endpoint: Endpoint { trust, ..self.endpoint.clone() }, ..self.clone() }
    }

    /// One stateless request.
    pub async fn modern(&self, method: &str, params: Value) -> Result<Answer> {
        let (headers, body) = self.modern_request(method, params)?;
        self.endpoint.send(Method::POST, &self.path, headers, &body).await
    }

    /// One stateless request whose answer is read as it arrives.
    pub async fn modern_stream(&self, method: &str, params: Value) -> Result<Events> {
        let (headers, body) = self.modern_request(method, params)?;
        self.endpoint.stream(Method::POST, &self.path, headers, &body).await
    }

    /// `tools/list`, the cheapest request that needs all rights.
    pub async fn list(&self) -> Result<Answer> {
        self.modern("tools/list", json!({})).await
    }

    /// Calls a tool and returns its result; fails when it is an error of any kind.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        let answer = self.modern("tools/call", json!({"name": tool, "arguments": arguments})).await?;
        result_of(&answer.expect(StatusCode::OK)?.message()?)
    }

    /// Begins a session.
    pub async fn initialize(&self) -> Result<Session> {
        let params = json!({
            "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "e2e", "version": "0.1.0"},
        });
        let answer = self.legacy(None, &request("initialize", &params)).await?.expect(StatusCode::OK)?;
        result_of(&answer.message()?)?;
        let id = answer.header("mcp-session-id").to_owned();
        if id.is_empty() {
            bail!("initialize gave no Mcp-Session-Id");
        }
        let session = Session { caller: self.clone(), id };
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.legacy(Some(&session.id), &initialized).await?.expect(StatusCode::ACCEPTED)?;
        Ok(session)
    }

    async fn legacy(&self, session: Option<&str>, message: &Value) -> Result<Answer> {
        let headers = self.legacy_headers(session)?;
        self.endpoint.send(Method::POST, &self.path, headers, message.to_string().as_bytes()).await
    }

    fn modern_request(&self, method: &str, params: Value) -> Result<(HeaderMap, Vec<u8>)> {
        let mut params = params;
        // A caller's own `_meta` (a progress token, say) is kept.
        let meta = &mut params["_meta"];
        meta[format!("{PREFIX}protocolVersion")] = json!(MODERN);
        meta[format!("{PREFIX}clientCapabilities")] = json!({});
        meta[format!("{PREFIX}clientInfo")] = json!({"name": "e2e", "version": "0.1.0"});
        let mut headers = self.headers()?;
        insert(&mut headers, "mcp-protocol-version", MODERN)?;
        insert(&mut headers, "mcp-method", method)?;
        if let Some(name) = params["name"].as_str() {
            insert(&mut headers, "mcp-name", name)?;
        }
        Ok((headers, request(method, &params).to_string().into_bytes()))
    }

    fn legacy_headers(&self, session: Option<&str>) -> Result<HeaderMap> {
        let mut headers = self.headers()?;
        if let Some(session) = session {
            insert(&mut headers, "mcp-session-id", session)?;
            insert(&mut headers, "mcp-protocol-version", LEGACY)?;
        }
        Ok(headers)
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        insert(&mut headers, "content-type", "application/json")?;
        insert(&mut headers, "accept", "application/json, text/event-stream")?;
        if let Some(token) = &self.token {
            insert(&mut headers, "authorization", &format!("Bearer {token}"))?;
        }
        Ok(headers)
    }
}

/// A session of the 2025 revisions.
#[derive(Clone, Debug)]
pub struct Session {
    caller: Caller,
    /// Its `Mcp-Session-Id`.
    pub id: String,
}

impl Session {
    /// The raw answer to a call.
    pub async fn answer(&self, tool: &str, arguments: Value) -> Result<Answer> {
        let message = request("tools/call", &json!({"name": tool, "arguments": arguments}));
        self.caller.legacy(Some(&self.id), &message).await
    }

    /// Calls a tool and returns its result.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        result_of(&self.answer(tool, arguments).await?.expect(StatusCode::OK)?.message()?)
    }

    /// Calls a tool and returns the stream of its messages.
    pub async fn stream(&self, tool: &str, arguments: Value, progress_token: Option<&str>) -> Result<Events> {
        let mut params = json!({"name": tool, "arguments": arguments});
        if let Some(token) = progress_token {
            params["_meta"] = json!({"progressToken": token});
        }
        let headers = self.caller.legacy_headers(Some(&self.id))?;
        let body = request("tools/call", &params).to_string();
        self.caller.endpoint.stream(Method::POST, &self.caller.path, headers, body.as_bytes()).await
    }

    /// The same session, used by somebody else.
    #[must_use]
    pub fn used_by(&self, caller: &Caller) -> Self {
        Self { caller: caller.clone(), id: self.id.clone() }
    }
}

/// Reads a stream to the answer of its request: how many progress notifications came before it, and the result.
pub async fn read_to_result(events: &mut Events, patience: Duration) -> Result<(usize, Value)> {
    let mut progress = 0;
    while let Some((_, message)) = events.next(patience).await? {
        if message["method"] == "notifications/progress" {
            progress += 1;
        } else if message.get("id").is_some() {
            return Ok((progress, result_of(&message)?));
        }
    }
    bail!("the stream ended after {progress} progress notifications, without a result")
}

/// The result of a JSON-RPC response; an error of the protocol or of the tool is an error.
pub fn result_of(message: &Value) -> Result<Value> {
    let result = message.get("result").with_context(|| format!("no result in {message}"))?;
    if result["isError"] == true {
        bail!("the tool failed: {result}");
    }
    Ok(result.clone())
}

fn request(method: &str, params: &Value) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    json!({"jsonrpc": "2.0", "id": NEXT.fetch_add(1, Ordering::Relaxed), "method": method, "params": params})
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<()> {
    headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).context(name)?);
    Ok(())
}
