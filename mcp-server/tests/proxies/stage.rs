//! Two servers that share a redis, an authorization server, and a proxy in front.

use std::net::Ipv4Addr;

use bytes::Bytes;
use e2e_issuer::{Issuer, Options};
use http::{HeaderMap, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Answer, call_request};
use crate::process::{PORTS, Runtime};
use crate::proxy::{Kind, Proxy};
use crate::redis::Redis;
use crate::tls_client::{Authority, Tls};

pub const URL: &str = "https://mcp.example.com/mcp";
/// Where the client calls from: this machine, but not the proxy's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

pub struct Stage {
    pub proxy: Proxy,
    pub servers: Vec<Runtime>,
    pub issuer: Issuer,
    pub token: String,
    authority: Authority,
    _redis: Redis,
    _keys: TempDir,
}

impl Stage {
    pub async fn set(kind: Kind) -> Self {
        let mut redis = Redis::down();
        redis.up().await;
        let issuer = Issuer::start(Options::default()).await.unwrap();
        let token = issuer.token().audience(URL).scopes("user").mint().unwrap();
        let keys = tempfile::tempdir().unwrap();
        for name in ["session", "request-state", "peer"] {
            std::fs::write(keys.path().join(name), [42; 32]).unwrap();
        }
        let config = format!(
            "{PORTS}
http: {{public_urls: [https://mcp.example.com], trusted_proxies: [127.0.0.1/32]}}
auth: {{issuer_url: '{}', required_scopes: [user]}}
rate_limits: {{per_client: {{requests: 0}}}}
redis: {{url: 'redis://{}', key_prefix: 'mcp:test'}}
keys: {{dir: '{}'}}
",
            issuer.url(),
            redis.address,
            keys.path().display(),
        );
        let servers = vec![Runtime::start(&config).await, Runtime::start(&config).await];
        for server in &servers {
            server.until_ready().await;
        }
        let authority = Authority::new();
        let proxy = Proxy::start(kind, &authority.sign(2040), [servers[0].mcp, servers[1].mcp]).await;
        Self { proxy, servers, issuer, token, authority, _redis: redis, _keys: keys }
    }

    /// A client of that HTTP version: `h2` or `http/1.1`.
    pub fn client(&self, protocol: &str) -> Tls {
        let client = Tls::new(&self.authority).alpn(protocol);
        Tls { name: "mcp.example.com", from: CLIENT, ..client }
    }

    /// Sends through the proxy, by HTTP/2.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.client("h2").ask(self.proxy.https, request).await.unwrap()
    }

    /// A request without a token.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(format!("https://mcp.example.com{path}")).body(Full::default()).unwrap()).await
    }

    pub fn call(&self, tool: &str, arguments: &Value) -> Request<Full<Bytes>> {
        let builder = Request::post(URL).header("authorization", format!("Bearer {}", self.token));
        call_request(builder, tool, arguments)
    }

    /// A message of the 2025-11-25 revision, in a session once there is one.
    pub async fn legacy(&self, session: Option<&str>, message: Value) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("accept", "application/json, text/event-stream".parse().unwrap());
        if let Some(session) = session {
            headers.insert("mcp-session-id", session.parse().unwrap());
            headers.insert("mcp-protocol-version", "2025-11-25".parse().unwrap());
        }
        let mut request = Request::post(URL).body(Full::from(message.to_string())).unwrap();
        *request.headers_mut() = headers;
        self.send(request).await
    }

    /// Opens a session and returns its id.
    pub async fn session(&self) -> String {
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let opened = self.legacy(None, message).await;
        let session = opened.header("mcp-session-id").unwrap_or_else(|| panic!("{opened:?}")).to_owned();
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.legacy(Some(&session), initialized).await.status, 202);
        session
    }
}
