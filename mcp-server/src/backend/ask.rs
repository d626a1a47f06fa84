//! The questions of the handshake: `server/discover` or `initialize`, then `tools/list`.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::catalog;
use super::handshake::Offer;
use super::upstream::Upstream;
use crate::mcp::envelope::ACCEPTED;
use crate::mcp::{revision, session};
use crate::wire::Fault;

/// For one question, to the end of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pages of tools; a backend that goes on for ever is not asked for ever.
const MAX_PAGES: usize = 100;
const MAX_TOOLS: usize = 10_000;
/// Characters of a server's name and version that are kept.
const MAX_TEXT: usize = 128;

const METHOD_NOT_FOUND: i64 = -32601;

/// Why a handshake fails. The wording is fixed: it is shown in `/server` and conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Unreachable,
    Broken,
    TimedOut,
    TooLarge,
    Refused,
    NotMcp,
}

impl Trouble {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "the backend does not listen at its port",
            Self::Broken => "the backend closed the connection before it answered",
            Self::TimedOut => "the backend did not answer in time",
            Self::TooLarge => "the backend's answer is too large",
            Self::Refused => "the backend refused the handshake",
            Self::NotMcp => "the backend does not speak MCP at its path",
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused | Fault::Silent => Self::Unreachable,
            Fault::Broken => Self::Broken,
        }
    }
}

/// Asks a backend what it offers.
pub(super) async fn offer(upstream: &Upstream) -> Result<Offer, Trouble> {
    match stateless(upstream).await {
        Ok(offer) => Ok(offer),
        // Nobody there to ask in another way.
        Err(trouble @ (Trouble::Unreachable | Trouble::TimedOut)) => Err(trouble),
        Err(_) => with_session(upstream).await,
    }
}

async fn stateless(upstream: &Upstream) -> Result<Offer, Trouble> {
    let found = ask(upstream, "server/discover", stateless_params(None), &Terms::Stateless).await?.result()?;
    let supported: Vec<&str> = strings(&found["supportedVersions"]).collect();
    if !supported.contains(&revision::STATELESS) {
        return Err(Trouble::NotMcp);
    }
    let mut protocol_versions: Vec<String> =
        supported.into_iter().filter(|version| revision::SUPPORTED.contains(version)).map(str::to_owned).collect();
    protocol_versions.sort_unstable_by(|a, b| b.cmp(a));
    let identity = &found["_meta"]["io.modelcontextprotocol/serverInfo"];
    let tools = tools(upstream, &found["capabilities"], &Terms::Stateless).await?;
    Ok(Offer { name: text(&identity["name"]), version: text(&identity["version"]), protocol_versions, tools })
}

async fn with_session(upstream: &Upstream) -> Result<Offer, Trouble> {
    let params = json!({
        "protocolVersion": revision::NEWEST_LEGACY,
        "capabilities": {},
        "clientInfo": client_info(),
    });
    let answer = ask(upstream, "initialize", params, &Terms::Opening).await?;
    let terms = Terms::Session { id: answer.session.clone(), version: None };
    let result = match answer.result() {
        Ok(result) => result,
        Err(trouble) => {
            close(upstream, &terms).await;
            return Err(trouble);
        }
    };
    let version = text(&result["protocolVersion"]).ok_or(Trouble::NotMcp)?;
    let terms = terms.with_version(&version);
    let tools = async {
        notify(upstream, "notifications/initialized", &terms).await?;
        tools(upstream, &result["capabilities"], &terms).await
    };
    let tools = tools.await;
    close(upstream, &terms).await;
    let identity = &result["serverInfo"];
    Ok(Offer {
        name: text(&identity["name"]),
        version: text(&identity["version"]),
        protocol_versions: vec![version],
        tools: tools?,
    })
}

/// All pages of `tools/list`.
async fn tools(upstream: &Upstream, capabilities: &Value, terms: &Terms) -> Result<Vec<Value>, Trouble> {
    let mut tools = Vec::new();
    if capabilities.get("tools").is_none() {
        return Ok(tools);
    }
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let params = match terms {
            Terms::Stateless => stateless_params(cursor.as_deref()),
            _ => cursor.as_deref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor})),
        };
        let answer = ask(upstream, "tools/list", params, terms).await?;
        if answer.error_code() == Some(METHOD_NOT_FOUND) {
            return Ok(tools);
        }
        let mut page = answer.result()?;
        let Some(items) = page["tools"].as_array_mut() else { return Err(Trouble::NotMcp) };
        tools.extend(items.drain(..).filter(|tool| !catalog::name(tool).is_empty()));
        if tools.len() > MAX_TOOLS {
            return Err(Trouble::TooLarge);
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(tools),
        }
    }
    Err(Trouble::TooLarge)
}

/// How to address the backend.
enum Terms {
    /// 2026-07-28: every request says it all.
    Stateless,
    /// The first request of a session.
    Opening,
    /// Within a session, if the backend named one.
    Session { id: Option<HeaderValue>, version: Option<HeaderValue> },
}

impl Terms {
    fn with_version(self, version: &str) -> Self {
        match self {
            Self::Session { id, version: _ } => Self::Session { id, version: HeaderValue::from_str(version).ok() },
            other => other,
        }
    }

    fn headers(&self, method: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(ACCEPT, ACCEPTED);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Stateless => {
                headers.insert(revision::HEADER, HeaderValue::from_static(revision::STATELESS));
                headers.insert("mcp-method", HeaderValue::from_static(method));
            }
            Self::Opening => {}
            Self::Session { id, version } => {
                if let Some(id) = id {
                    headers.insert(session::HEADER, id.clone());
                }
                if let Some(version) = version {
                    headers.insert(revision::HEADER, version.clone());
                }
            }
        }
        headers
    }
}

async fn ask(upstream: &Upstream, method: &'static str, params: Value, terms: &Terms) -> Result<Answer, Trouble> {
    let message = json!({"jsonrpc": "2.0", "id": answer::ID, "method": method, "params": params});
    let asked = async {
        let response = upstream.send(Method::POST, terms.headers(method), message.to_string().into()).await?;
        answer::read(response).await
    };
    tokio::time::timeout(TIMEOUT, asked).await.unwrap_or(Err(Trouble::TimedOut))
}

async fn notify(upstream: &Upstream, method: &'static str, terms: &Terms) -> Result<(), Trouble> {
    let message = json!({"jsonrpc": "2.0", "method": method});
    let sent = upstream.send(Method::POST, terms.headers(method), message.to_string().into());
    let response = tokio::time::timeout(TIMEOUT, sent).await.map_err(|_| Trouble::TimedOut)??;
    if response.status().is_success() { Ok(()) } else { Err(Trouble::Refused) }
}

/// Leaves no session behind. A backend that does not let clients end sessions ends them by itself.
async fn close(upstream: &Upstream, terms: &Terms) {
    if let Terms::Session { id: Some(_), .. } = terms {
        let sent = upstream.send(Method::DELETE, terms.headers("DELETE"), bytes::Bytes::new());
        let _ = tokio::time::timeout(TIMEOUT, sent).await;
    }
}

fn stateless_params(cursor: Option<&str>) -> Value {
    let mut params = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": revision::STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": client_info(),
    }});
    if let Some(cursor) = cursor {
        params["cursor"] = cursor.into();
    }
    params
}

fn client_info() -> Value {
    json!({"name": "mcp-server", "version": env!("CARGO_PKG_VERSION")})
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// A text that a backend says of itself: short, and without control characters.
fn text(value: &Value) -> Option<String> {
    let text: String = value.as_str()?.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    (!text.is_empty()).then_some(text)
}
