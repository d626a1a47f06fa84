//! A plain HTTP client with the messages of the 2026-07-28 revision.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

pub const VERSION: &str = "2026-07-28";

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub fn request(method: &str, address: SocketAddr, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://{address}{path}"))
}

/// Sends; the body is still to be read.
pub async fn begin(request: Request<Full<Bytes>>) -> Response<Incoming> {
    Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap()
}

pub async fn send(request: Request<Full<Bytes>>) -> Answer {
    read(begin(request).await).await
}

pub async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(bytes.to_vec()).unwrap() }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(request("GET", address, path).body(Full::default()).unwrap()).await
}

/// `tools/call` without its host.
pub fn call_request(builder: http::request::Builder, tool: &str, arguments: &Value) -> Request<Full<Bytes>> {
    let body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientCapabilities": {},
                "progressToken": 1,
            },
        },
    });
    builder
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", VERSION)
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool)
        .body(Full::from(body.to_string()))
        .unwrap()
}

pub async fn call(address: SocketAddr, tool: &str, arguments: Value) -> Answer {
    send(call_request(request("POST", address, "/mcp"), tool, &arguments)).await
}
