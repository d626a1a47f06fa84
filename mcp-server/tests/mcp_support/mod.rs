//! The MCP endpoint over a real socket, with the envelope layer in front of it and a stand-in for authentication: the
//! header `x-test-caller` names the principal. And a raw HTTP client, so that tests see what is on the wire.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod proxy;
pub mod redis;
pub mod served;
pub mod upstream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mcp_server::auth::{Caller, Principal};
use mcp_server::http::{Client as ClientAddress, RequestId};
use mcp_server::mcp::{Endpoint, Handler, envelope};
use mcp_server::metrics::Metrics;
use mcp_server::state::State;
use mcp_server_config::{Backend, Config, Container};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Nothing in a test takes that long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running endpoint. Dropping it closes its connections, as the loss of a pod does.
pub struct Runtime {
    pub address: SocketAddr,
    pub endpoint: Arc<Endpoint>,
    pub state: Arc<State>,
    pub metrics: Arc<Metrics>,
    servers: Vec<tokio::task::JoinHandle<()>>,
    connections: tokio_util::sync::CancellationToken,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.connections.cancel();
        for server in &self.servers {
            server.abort();
        }
    }
}

impl Runtime {
    pub async fn start(config: Config) -> Self {
        Self::start_at(config, "127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn start_at(config: Config, address: SocketAddr) -> Self {
        Self::launch(config, address, None).await
    }

    /// With a server of the test's own.
    pub async fn hosting(config: Config, handler: Handler) -> Self {
        Self::launch(config, "127.0.0.1:0".parse().expect("an address"), Some(handler)).await
    }

    async fn launch(config: Config, address: SocketAddr, handler: Option<Handler>) -> Self {
        let state = State::open(&config).await.expect("the state opens");
        let metrics = Metrics::new(&config.server.name).expect("metrics");
        let endpoint = Endpoint::start_with(&config, Arc::clone(&state), Arc::clone(&metrics), handler)
            .await
            .expect("the endpoint starts");
        let served = Arc::clone(&endpoint);
        let router = Router::new()
            .fallback(move |request: Request| {
                let endpoint = Arc::clone(&served);
                async move { endpoint.handle(request).await }
            })
            .layer(from_fn_with_state(envelope::Bodies::new(config.server.max_request_body_bytes), envelope::layer))
            .layer(from_fn(authenticate));
        let listener = TcpListener::bind(address).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let connections = tokio_util::sync::CancellationToken::new();
        let mut servers = vec![tokio::spawn(serve(listener, router, connections.clone()))];
        if let Some(peers) = state.peers() {
            let management = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            peers.announce(management.local_addr().expect("bound"));
            let router = mcp_server::peers::router(peers, &endpoint, config.server.max_request_body_bytes);
            servers.push(tokio::spawn(serve(management, router, connections.clone())));
        }
        Self { address, endpoint, state, metrics, servers, connections }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn metrics_text(&self) -> String {
        String::from_utf8(self.metrics.render().expect("rendered")).expect("text")
    }

    /// Waits until the handshake with the backend has succeeded.
    pub async fn ready(self) -> Self {
        eventually("the backend answers the handshake", || self.endpoint.ready_once()).await;
        self
    }
}

async fn serve(listener: TcpListener, router: Router, connections: tokio_util::sync::CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a TCP socket");
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let serving = async move {
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        };
        tokio::spawn(connections.clone().run_until_cancelled_owned(serving));
    }
}

/// What the shell's layers put into a request.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let caller = request.headers().get("x-test-caller").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let caller = caller.map_or(Caller::Anonymous, |subject| {
        Caller::Principal(Arc::new(Principal {
            issuer: "https://issuer.example".into(),
            subject: subject.into(),
            client_id: Some("client".into()),
            scopes: Arc::new(["read".to_owned(), "user".to_owned()]),
            expires_at: u64::MAX,
        }))
    });
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(RequestId("request-1".into()));
    request.extensions_mut().insert(ClientAddress { address: IpAddr::from([192, 0, 2, 9]), secure: true });
    next.run(request).await
}

/// A configuration in memory.
pub fn config() -> Config {
    let mut config = Config::default();
    config.server.name = "test".to_owned();
    config
}

/// The same in front of an upstream.
pub fn proxy(url: &str) -> Config {
    let url = url.parse().expect("a URL");
    Config { backend: Backend::Container(Container { url, stateless: false }), ..config() }
}

/// A client, as one principal.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    caller: Option<String>,
}

/// A response whose body is still to come.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Incoming,
    pending: String,
}

impl Http {
    pub fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), url: url.to_owned(), caller: None }
    }

    pub fn caller(mut self, name: &str) -> Self {
        self.caller = Some(name.to_owned());
        self
    }

    pub async fn send(&self, method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        self.try_send(method, headers, body).await.expect("a response")
    }

    pub async fn try_send(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, hyper_util::client::legacy::Error> {
        let mut request = http::Request::builder().method(method).uri(&self.url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(caller) = &self.caller {
            request = request.header("x-test-caller", caller);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let response = tokio::time::timeout(PATIENCE, self.client.request(request)).await.expect("no hang")?;
        let (parts, body) = response.into_parts();
        Ok(Reply { status: parts.status, headers: parts.headers, body, pending: String::new() })
    }

    /// A POST with the headers that every client sends, and these.
    pub async fn post(&self, headers: &[(&str, &str)], message: &Value) -> Reply {
        let mut all = vec![("accept", "application/json, text/event-stream"), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send(Method::POST, &all, message.to_string()).await
    }

    /// A request of 2026-07-28.
    pub async fn ask(&self, method: &str, params: Value) -> Reply {
        let (headers, message) = modern(method, params);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post(&headers, &message).await
    }

    /// Calls a tool in 2026-07-28.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await.message().await
    }

    /// Opens a session.
    pub async fn initialize(&self, version: &str) -> Reply {
        let params =
            json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
        self.post(&[], &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await
    }

    /// Opens a session to the end of the handshake and returns its id.
    pub async fn session(&self) -> String {
        let opened = self.initialize("2025-11-25").await;
        assert_eq!(opened.status, StatusCode::OK);
        let id = opened.header("mcp-session-id").expect("a session").to_owned();
        opened.message().await;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.post(&[("mcp-session-id", &id)], &initialized).await.status, StatusCode::ACCEPTED);
        id
    }

    /// Calls a tool within a session.
    pub async fn call_in(&self, session: &str, tool: &str, arguments: Value) -> Reply {
        let message = json!({
            "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}},
        });
        self.post(&[("mcp-session-id", session), ("mcp-protocol-version", "2025-11-25")], &message).await
    }

    /// Opens the stream of a session.
    pub async fn listen_in(&self, session: &str, last_event_id: Option<&str>) -> Reply {
        let mut headers = vec![("accept", "text/event-stream"), ("mcp-session-id", session)];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        self.send(Method::GET, &headers, "").await
    }

    pub async fn end(&self, session: &str) -> StatusCode {
        self.send(Method::DELETE, &[("mcp-session-id", session)], "").await.status
    }
}

/// Headers and message of a request of 2026-07-28.
pub fn modern(method: &str, mut params: Value) -> (Vec<(&'static str, String)>, Value) {
    let mut headers = vec![("mcp-protocol-version", "2026-07-28".to_owned()), ("mcp-method", method.to_owned())];
    if let Some(name) = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str) {
        headers.push(("mcp-name", name.to_owned()));
    }
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": "p",
    });
    (headers, json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn is_event_stream(&self) -> bool {
        self.header("content-type").is_some_and(|value| value.starts_with("text/event-stream"))
    }

    pub async fn bytes(self) -> Bytes {
        tokio::time::timeout(PATIENCE, self.body.collect()).await.expect("no hang").expect("a body").to_bytes()
    }

    pub async fn text(self) -> String {
        String::from_utf8(self.bytes().await.to_vec()).expect("text")
    }

    pub async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The response message, from JSON or from the events.
    pub async fn message(mut self) -> Value {
        if !self.is_event_stream() {
            return self.json().await;
        }
        while let Some(event) = self.event().await {
            if let Some(data) = event.data().filter(|data| data.get("id").is_some()) {
                return data;
            }
        }
        panic!("the stream ended without a response");
    }

    /// The next event, or `None` at the end of the stream.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.pending.split_once("\n\n") {
                let event = Event(event.trim_start_matches('\n').to_owned());
                self.pending = rest.to_owned();
                if event.0.is_empty() || event.0.starts_with(':') {
                    continue;
                }
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("no hang")?;
            let Ok(data) = frame.ok()?.into_data() else { continue };
            self.pending.push_str(std::str::from_utf8(&data).expect("text"));
        }
    }
}

/// The lines of one event.
#[derive(Debug)]
pub struct Event(pub String);

impl Event {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
    }

    pub fn data(&self) -> Option<Value> {
        serde_json::from_str(self.field("data")?).ok()
    }
}

/// Waits until it holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A body for responses of test upstreams.
pub fn body(text: &str) -> Body {
    Body::from(text.to_owned())
}
