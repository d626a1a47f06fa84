//! The limit by client address, as part of the stack.

use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::client::call_request;
use crate::layers::{ask, router};

fn echo(forwarded_for: Option<&str>) -> Request<Full<bytes::Bytes>> {
    let mut builder = Request::builder().method("POST").uri("/mcp").header("host", "localhost:8000");
    if let Some(address) = forwarded_for {
        builder = builder.header("x-forwarded-for", address);
    }
    call_request(builder, "echo", &json!({"text": "hello"}))
}

fn health() -> Request<Full<bytes::Bytes>> {
    Request::builder().uri("/health").body(Full::default()).unwrap()
}

const TWO: &str = "
http: {trusted_proxies: [10.0.0.0/8]}
rate_limits: {per_client: {requests: 2, per_seconds: 3600}}
";

#[tokio::test]
async fn too_many_requests_are_refused_with_the_time_to_wait() {
    let router = router(TWO).await;
    for _ in 0..2 {
        assert_eq!(ask(&router, "192.0.2.1", echo(None)).await.status, 200);
    }
    let answer = ask(&router, "192.0.2.1", echo(None)).await;
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1800).contains(&wait), "{wait}");
    assert_eq!(answer.json()["error"]["message"], "Too many requests from this address.");

    assert_eq!(ask(&router, "192.0.2.2", echo(None)).await.status, 200, "another client");
    assert_eq!(ask(&router, "192.0.2.1", health()).await.status, 200, "health is not limited");
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let router = router(TWO).await;
    for client in ["203.0.113.1", "203.0.113.2"] {
        for _ in 0..2 {
            assert_eq!(ask(&router, "10.0.0.1", echo(Some(client))).await.status, 200);
        }
        assert_eq!(ask(&router, "10.0.0.1", echo(Some(client))).await.status, 429);
        // What the client itself wrote stands further left.
        let forged = format!("198.51.100.9, {client}");
        assert_eq!(ask(&router, "10.0.0.1", echo(Some(&forged))).await.status, 429);
    }
    for _ in 0..2 {
        assert_eq!(ask(&router, "192.0.2.1", echo(Some("203.0.113.7"))).await.status, 200);
    }
    assert_eq!(ask(&router, "192.0.2.1", echo(Some("203.0.113.8"))).await.status, 429, "a peer that is not trusted");
}

const FAILURES: &str = "rate_limits: {per_client: {requests: 2, per_seconds: 3600, count: failures}}\n";

#[tokio::test]
async fn only_failed_authentications_count_where_addresses_are_not_known() {
    let open = router(FAILURES).await;
    for _ in 0..5 {
        assert_eq!(ask(&open, "10.0.0.1", echo(None)).await.status, 200);
    }

    let closed = router(&format!("{FAILURES}auth: {{issuer_url: 'http://127.0.0.1:9'}}\n")).await;
    for _ in 0..2 {
        assert_eq!(ask(&closed, "10.0.0.1", echo(None)).await.status, 401);
    }
    let answer = ask(&closed, "10.0.0.1", echo(None)).await;
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (429, None));
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

#[tokio::test]
async fn who_fails_locks_nobody_out_behind_the_same_proxy() {
    let issuer = e2e_issuer::Issuer::start(e2e_issuer::Options::default()).await.unwrap();
    let closed = router(&format!("{FAILURES}auth: {{issuer_url: '{}'}}\n", issuer.url())).await;
    while ask(&closed, "10.0.0.1", echo(None)).await.status != 429 {}

    let token = issuer.token().audience("http://localhost:8000/mcp").mint().unwrap();
    let builder = Request::builder().method("POST").uri("/mcp").header("host", "localhost:8000");
    let builder = builder.header("authorization", format!("Bearer {token}"));
    let answer = ask(&closed, "10.0.0.1", call_request(builder, "echo", &json!({"text": "hello"}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let document = Request::builder().uri("/.well-known/oauth-protected-resource/mcp").header("host", "localhost:8000");
    let answer = ask(&closed, "10.0.0.1", document.body(Full::default()).unwrap()).await;
    assert_eq!(answer.status, 200, "clients need it to get a token: {answer:?}");
}

#[tokio::test]
async fn zero_switches_the_limit_off() {
    let router = router("rate_limits: {per_client: {requests: 0}}").await;
    for _ in 0..200 {
        assert_eq!(ask(&router, "192.0.2.1", echo(None)).await.status, 200);
    }
}

fn call(token: Option<&str>, tool: &str, arguments: &serde_json::Value) -> Request<Full<bytes::Bytes>> {
    let mut builder = Request::builder().method("POST").uri("/mcp").header("host", "localhost:8000");
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    call_request(builder, tool, arguments)
}

#[tokio::test]
async fn a_principal_has_one_rate_whatever_token_and_address_it_comes_with() {
    let issuer = e2e_issuer::Issuer::start(e2e_issuer::Options::default()).await.unwrap();
    let router = router(&format!(
        "rate_limits: {{per_principal: {{requests: 3, per_seconds: 3600}}}}\nauth: {{issuer_url: '{}'}}\n",
        issuer.url()
    ))
    .await;
    let token = |subject: &str| issuer.token().subject(subject).audience("http://localhost:8000/mcp").mint().unwrap();
    let echo = |token: &str| call(Some(token), "echo", &json!({"text": "a"}));
    let (first, second) = (token("alice"), token("alice"));
    assert_eq!(ask(&router, "192.0.2.1", echo(&first)).await.status, 200);
    assert_eq!(ask(&router, "192.0.2.2", echo(&second)).await.status, 200);
    assert_eq!(ask(&router, "192.0.2.1", echo(&second)).await.status, 200);
    let refused = ask(&router, "192.0.2.3", echo(&first)).await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1200).contains(&wait), "{wait}");
    assert_eq!(ask(&router, "192.0.2.1", echo(&token("bob"))).await.status, 200);
}

#[tokio::test]
async fn tools_of_a_rule_share_a_rate_and_a_refusal_has_the_id_and_takes_nothing() {
    let router = router(
        "rate_limits: {per_principal: {requests: 5, per_seconds: 3600}, per_tool: [{tools: ['ad*', whoami], requests: 2, per_seconds: 60}]}",
    )
    .await;
    let add = || call(None, "add", &json!({"a": 1, "b": 2}));
    assert_eq!(ask(&router, "192.0.2.1", add()).await.status, 200);
    assert_eq!(ask(&router, "192.0.2.1", call(None, "whoami", &json!({}))).await.status, 200);
    for _ in 0..10 {
        let refused = ask(&router, "192.0.2.1", add()).await;
        assert_eq!(refused.status, 429);
        assert_eq!((&refused.json()["id"], &refused.json()["jsonrpc"]), (&json!(1), &json!("2.0")));
        assert_eq!(refused.header("retry-after"), Some("30"));
    }
    for _ in 0..3 {
        assert_eq!(ask(&router, "192.0.2.1", call(None, "echo", &json!({"text": "a"}))).await.status, 200);
    }
    let refused = ask(&router, "192.0.2.1", call(None, "echo", &json!({"text": "a"}))).await;
    assert_eq!(refused.status, 429, "the principal's");
    assert_eq!(ask(&router, "192.0.2.2", add()).await.status, 200, "without a token everybody is an address");
}

#[tokio::test]
async fn a_call_counts_as_under_way_until_its_response_is_through() {
    use tower::ServiceExt as _;
    let router = router("rate_limits: {concurrent_calls_per_principal: 2}").await;
    let begin = async |peer: &str| {
        let mut request = call(None, "echo", &json!({"text": "a"})).map(axum::body::Body::new);
        let peer: std::net::SocketAddr = format!("{peer}:4711").parse().unwrap();
        request.extensions_mut().insert(mcp_server::http::Peer(peer));
        router.clone().oneshot(request).await.unwrap()
    };
    let (first, second) = (begin("192.0.2.1").await, begin("192.0.2.1").await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let refused = ask(&router, "192.0.2.1", call(None, "echo", &json!({"text": "a"}))).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.json()["id"], 1);
    assert_eq!(begin("192.0.2.2").await.status(), 200, "another one");
    let listing = Request::builder().method("GET").uri("/mcp").header("host", "localhost:8000");
    let listing = ask(&router, "192.0.2.1", listing.body(Full::default()).unwrap()).await;
    assert_ne!(listing.status, 429, "what is no call needs no place");
    drop(first);
    assert_eq!(ask(&router, "192.0.2.1", call(None, "echo", &json!({"text": "a"}))).await.status, 200);
    assert_eq!(ask(&router, "192.0.2.1", call(None, "echo", &json!({"text": "a"}))).await.status, 200);
}
