//! A backend that does exactly what a test wants.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// It answers the handshake, and everything else with `answer`. It remembers the headers that it saw.
pub struct Upstream {
    pub url: String,
    pub seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Upstream {
    pub async fn start<F>(answer: F) -> Self
    where
        F: Fn(http::Method, Value) -> Response + Clone + Send + Sync + 'static,
    {
        let seen: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
        let log = Arc::clone(&seen);
        let router = Router::new().fallback(move |request: Request| {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            async move { handle(request, &log, answer).await }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/its/path", listener.local_addr().expect("bound"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { url, seen, server }
    }

    /// The headers of the last request that asked for that method.
    pub fn headers_of(&self, method: &str) -> HeaderMap {
        let seen = self.seen.lock().expect("no panic");
        seen.iter().rev().find(|(of, _)| of == method).map(|(_, headers)| headers.clone()).expect("it was asked")
    }
}

async fn handle(
    request: Request,
    log: &Mutex<Vec<(String, HeaderMap)>>,
    answer: impl Fn(http::Method, Value) -> Response,
) -> Response {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.uri.path(), "/its/path");
    let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let message: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or(parts.method.as_str()).to_owned();
    log.lock().expect("no panic").push((method.clone(), parts.headers));
    if message["id"] != "mcp-server-handshake" {
        return answer(parts.method, message);
    }
    match method.as_str() {
        "server/discover" => json_response(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {
            "resultType": "complete", "supportedVersions": ["2025-06-18", "2026-07-28", "2099-01-01"],
            "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "fake", "version": "1"}},
        }})),
        _ => json_response(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {
            "resultType": "complete", "tools": [
                {"name": "known", "inputSchema": {"type": "object"}},
                {"name": "mirrored", "inputSchema": {"type": "object", "properties": {
                    "region": {"type": "string", "x-mcp-header": "Region"},
                }}},
            ],
            "ttlMs": 0, "cacheScope": "private",
        }})),
    }
}

pub fn json_response(value: &Value) -> Response {
    Response::builder().header("content-type", "application/json").body(Body::from(value.to_string())).expect("valid")
}

/// A backend that knows only 2025-06-18, needs sessions, answers in events and lists its tools in two pages. Counts the
/// sessions that are given back.
pub async fn legacy(deleted: Arc<std::sync::atomic::AtomicUsize>) -> (String, tokio::task::JoinHandle<()>) {
    let router = Router::new().fallback(move |request: Request| {
        let deleted = Arc::clone(&deleted);
        async move {
            let (parts, body) = request.into_parts();
            let in_session = parts.headers.get("mcp-session-id").is_some_and(|id| id == "theirs");
            if parts.method == http::Method::DELETE {
                assert!(in_session);
                deleted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                return Response::default();
            }
            let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            let message: Value = serde_json::from_slice(&bytes).expect("a message");
            let result = match message["method"].as_str().expect("a method") {
                "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "old", "version": "0.1"}}),
                "notifications/initialized" => {
                    assert!(in_session);
                    return Response::builder().status(202).body(Body::empty()).expect("valid");
                }
                "tools/list" if in_session && message["params"]["cursor"] == "2" => json!({"tools": [{"name": "b"}]}),
                "tools/list" if in_session => json!({"tools": [{"name": "a"}], "nextCursor": "2"}),
                _ => return Response::builder().status(400).body(Body::from("Bad Request")).expect("valid"),
            };
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            let events = format!(": hello\r\n\r\nevent: message\r\ndata: {answer}\r\n\r\n");
            let response = Response::builder().header("content-type", "text/event-stream; charset=utf-8");
            response.header("mcp-session-id", "theirs").body(Body::from(events)).expect("valid")
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/mcp", listener.local_addr().expect("bound"));
    (url, tokio::spawn(async move { axum::serve(listener, router).await.expect("served") }))
}
