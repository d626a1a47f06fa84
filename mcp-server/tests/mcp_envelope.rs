//! What is wrong with a message is said at the door, in JSON-RPC and in our own words.

mod mcp_support;

use http::{Method, StatusCode};
use mcp_support::{Http, Runtime, config, modern};
use serde_json::{Value, json};

const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Status and code of the refusal; its form is checked.
async fn refused(http: &Http, headers: &[(&str, &str)], body: &str) -> (u16, i64) {
    let reply = http.send(Method::POST, headers, body.to_owned()).await;
    let status = reply.status.as_u16();
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let error = reply.json().await;
    assert_eq!(error["jsonrpc"], "2.0");
    let message = error["error"]["message"].as_str().expect("a message");
    for word in ["line", "column", "expected", "EOF", "serde"] {
        assert!(!message.contains(word), "a library speaks: {message}");
    }
    (status, error["error"]["code"].as_i64().expect("a code"))
}

#[tokio::test]
async fn bodies_that_are_no_message_are_refused() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let headers = [BOTH, JSON];
    for body in ["", "{", "nonsense", "{\"jsonrpc\":\"2.0\",", "{\"a\":1}}"] {
        assert_eq!(refused(&http, &headers, body).await, (400, -32700), "{body}");
    }
    for body in ["7", "\"x\"", "null", "[]", "{}", "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}"] {
        assert_eq!(refused(&http, &headers, body).await, (400, -32600), "{body}");
    }
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    for revision in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let headers = [BOTH, JSON, ("mcp-protocol-version", revision)];
        assert_eq!(refused(&http, &headers, batch).await, (400, -32600), "{revision}");
    }
    let many = format!("[{}]", vec![r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#; 51].join(","));
    let handshake = r#"[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}]"#;
    for batch in ["[]", "[7]", "[[]]", "[{}]", handshake, &many] {
        assert_eq!(refused(&http, &headers, batch).await, (400, -32600), "{batch}");
    }
    assert_eq!(refused(&http, &headers, "[{]").await, (400, -32700));
    // A name that is no text for us might be one for a backend: what was checked must be what is done.
    let lone = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\ud800"}}"#;
    assert_eq!(refused(&http, &headers, lone).await, (400, -32600));
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(refused(&http, &headers, &deep).await, (400, -32600));
}

#[tokio::test]
async fn the_id_of_a_refused_request_is_echoed_and_left_out_where_there_is_none() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let with_id = http.post(&[], &json!({"jsonrpc": "1.0", "id": "x", "method": "ping"})).await.json().await;
    assert_eq!(with_id["id"], "x");
    let without: Value = http.send(Method::POST, &[BOTH, JSON], "{").await.json().await;
    assert!(without.get("id").is_none());
}

#[tokio::test]
async fn types_that_nobody_can_use_are_refused() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(refused(&http, &[("accept", "application/json"), JSON], ping).await.0, 406);
    assert_eq!(refused(&http, &[JSON], ping).await.0, 406);
    assert_eq!(refused(&http, &[BOTH, ("content-type", "text/plain")], ping).await.0, 415);
    assert_eq!(refused(&http, &[BOTH], ping).await.0, 415);
    assert_eq!(refused(&http, &[BOTH, JSON, ("content-encoding", "gzip")], ping).await.0, 415);
    let get = http.send(Method::GET, &[("accept", "application/json")], "").await;
    assert_eq!(get.status, StatusCode::NOT_ACCEPTABLE);
    let put = http.send(Method::PUT, &[], "").await;
    assert_eq!((put.status, put.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, POST, DELETE")));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let mut config = config();
    config.server.max_request_body_bytes = 1000;
    let runtime = Runtime::start(config).await;
    let http = Http::new(&runtime.url());
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(1000));
    assert_eq!(refused(&http, &[BOTH, JSON], &large).await, (413, -32600));
    assert_eq!(refused(&http, &[BOTH, JSON, ("transfer-encoding", "chunked")], &large).await, (413, -32600));
}

#[tokio::test]
async fn a_wildcard_in_accept_is_enough() {
    let runtime = Runtime::start(config()).await;
    let (headers, message) = modern("tools/list", json!({}));
    let mut all = vec![("accept", "*/*"), ("content-type", "application/json; charset=utf-8")];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
    let reply = Http::new(&runtime.url()).send(Method::POST, &all, message.to_string()).await;
    assert_eq!(reply.status, StatusCode::OK);
}
