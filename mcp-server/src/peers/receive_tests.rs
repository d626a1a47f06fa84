//! Who is believed.

#![allow(clippy::unwrap_used)]

use http::Method;
use http::request::Parts;
use mcp_server_config::{Config, Keys, Redis};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::mcp::session::Refusal;
use crate::metrics::Metrics;
use crate::peers::Holder;
use crate::peers::head::Way;
use crate::state::State as SharedState;

struct Replica {
    peers: Arc<Peers>,
    router: Router,
    _keys: TempDir,
    _state: Arc<SharedState>,
}

impl Replica {
    /// Its redis is nowhere: nothing here needs it.
    async fn start(key: u8) -> Self {
        let keys = tempfile::tempdir().unwrap();
        for name in ["session", "peer"] {
            std::fs::write(keys.path().join(name), [key; 32]).unwrap();
        }
        let config = Config {
            redis: Some(Redis { url: Some("redis://127.0.0.1:1".to_owned()), ..Redis::default() }),
            keys: Some(Keys { dir: keys.path().to_owned() }),
            ..Config::default()
        };
        let state = SharedState::open(&config).await.unwrap();
        let metrics = Metrics::new("test").unwrap();
        let endpoint = Endpoint::start(&config, Arc::clone(&state), metrics).await.unwrap();
        let peers = Arc::clone(state.peers().unwrap());
        let router = router(&peers, &endpoint, 1000);
        Self { peers, router, _keys: keys, _state: state }
    }

    /// What another replica sends here.
    fn sealed(&self, from: &Self, number: u64, now: u64, body: &str) -> Request {
        let (headers, body) = (call(), Bytes::from(body.to_owned()));
        let way = Way { to: self.peers.id(), from: from.peers.id(), number, now };
        let (value, _) = Head::new(&way, &headers, &body).seal(&from.peers.key).unwrap();
        Request::post(PATH).header(HEADER, value).body(Body::from(body)).unwrap()
    }

    async fn take(&self, request: Request) -> (StatusCode, String, bool) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, signed) = (response.status(), response.headers().contains_key(HEADER));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap(), signed)
    }
}

fn call() -> Parts {
    let request = Request::post("/mcp")
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "server/discover")
        .header("host", "127.0.0.1:8000");
    request.body(()).unwrap().into_parts().0
}

const DISCOVER: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{
    "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

#[tokio::test]
async fn a_sealed_request_is_answered_once() {
    let (a, b) = (Replica::start(7).await, Replica::start(7).await);
    let (status, body, signed) = b.take(b.sealed(&a, 1, wall_clock(), DISCOVER)).await;
    assert_eq!((status, signed), (StatusCode::OK, true), "{body}");
    let messages = body.lines().filter_map(|line| serde_json::from_str(line.trim_start_matches("data:")).ok());
    assert_eq!(messages.map(|message: Value| message["id"].clone()).collect::<Vec<_>>(), [1]);
    let again = b.take(b.sealed(&a, 1, wall_clock(), DISCOVER)).await;
    assert_eq!(again, (StatusCode::UNAUTHORIZED, "seen before".to_owned(), false));
    assert_eq!(b.take(b.sealed(&a, 2, wall_clock(), DISCOVER)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_forged_old_changed_or_meant_for_another_is_refused() {
    let (a, b) = (Replica::start(7).await, Replica::start(7).await);
    let stranger = Replica::start(8).await;
    let unauthorized = |reason: &str| (StatusCode::UNAUTHORIZED, reason.to_owned(), false);
    let bare = Request::post(PATH).body(Body::from(DISCOVER)).unwrap();
    assert_eq!(b.take(bare).await, unauthorized("no seal"));
    assert_eq!(b.take(b.sealed(&stranger, 1, wall_clock(), DISCOVER)).await, unauthorized("no such seal"));
    let old = b.take(b.sealed(&a, 1, wall_clock() - 60, DISCOVER)).await;
    assert_eq!(old, unauthorized("sealed too long ago, or the clocks differ"));
    let mut changed = b.sealed(&a, 1, wall_clock(), DISCOVER);
    *changed.body_mut() = Body::from(DISCOVER.replace("discover", "Discover"));
    assert_eq!(b.take(changed).await, unauthorized("the body is another"));
    let misdirected = b.take(a.sealed(&a, 1, wall_clock(), DISCOVER)).await;
    assert_eq!(misdirected.0, StatusCode::MISDIRECTED_REQUEST);
    let large = "x".repeat(1001);
    assert_eq!(b.take(b.sealed(&a, 2, wall_clock(), &large)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(b.take(b.sealed(&a, 3, wall_clock(), "junk")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_forwarded_request_is_not_forwarded_again() {
    let a = Replica::start(7).await;
    let mut request = call();
    request.method = Method::GET;
    request.extensions.insert(Forwarded);
    let holder = Holder { replica: "b".into(), address: ([127, 0, 0, 1], 1).into() };
    assert_eq!(a.peers.forward(&request, Bytes::new(), &holder).await.map(drop), Err(Refusal::Unavailable));
}

#[tokio::test]
async fn a_holder_that_does_not_listen_is_gone_and_one_that_cannot_sign_is_not_believed() {
    let a = Replica::start(7).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = Holder { replica: "b".into(), address: free };
    assert_eq!(a.peers.forward(&call(), Bytes::new(), &holder).await.map(drop), Err(Refusal::NotFound));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(|| async { "I am the holder" });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let holder = Holder { replica: "b".into(), address };
    assert_eq!(a.peers.forward(&call(), Bytes::new(), &holder).await.map(drop), Err(Refusal::Unavailable));
}
