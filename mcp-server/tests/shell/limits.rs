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
    assert_eq!(answer.json()["error"]["message"], "Too many requests");

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
