//! The audit stream of the real process.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::{call, call_request, get, request, send};
use crate::process::{PORTS, Runtime};

/// Every member, always: who reads the stream relies on it.
const MEMBERS: [&str; 15] = [
    "timestamp",
    "request_id",
    "caller",
    "principal",
    "client",
    "http_method",
    "method",
    "name",
    "decision",
    "reason",
    "status",
    "result",
    "duration_ms",
    "request_bytes",
    "response_bytes",
];

fn audit_to(file: &Path) -> String {
    format!("{PORTS}audit: {{handlers: [{{type: file, filename: {}}}]}}\n", file.display())
}

/// The lines, once there are so many.
async fn lines(file: &Path, count: usize) -> Vec<Value> {
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn each_decision_is_one_line_that_says_who_what_and_why() {
    let issuer = e2e_issuer::Issuer::start(e2e_issuer::Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.log");
    let auth = format!("auth: {{issuer_url: '{}', required_scopes: [read]}}\n", issuer.url());
    let runtime = Runtime::start(&format!("{}{auth}", audit_to(&file))).await;
    runtime.until_ready().await;
    let audience = format!("http://{}/mcp", runtime.mcp);
    let token = |scope: &str| {
        issuer.token().audience(&audience).claim("sub", "alice").claim("client_id", "app").claim("scope", scope).mint()
    };
    let with = |token: &str, tool: &str, arguments: Value| {
        let builder = request("POST", runtime.mcp, "/mcp").header("authorization", format!("Bearer {token}"));
        send(call_request(builder, tool, &arguments))
    };
    let (good, poor) = (token("read").unwrap(), token("other").unwrap());
    let answer = with(&good, "echo", json!({"text": "argument-secret"})).await;
    with(&good, "no_such_tool", json!({})).await;
    with(&poor, "echo", json!({})).await;
    call(runtime.mcp, "echo", json!({})).await;
    with("token-secret", "echo", json!({})).await;
    get(runtime.mcp, "/health").await;
    get(runtime.mcp, "/nothing").await;
    let builder = request("POST", runtime.mcp, "/mcp").header("origin", "https://evil.example.com");
    send(call_request(builder, "echo", &json!({}))).await;

    let lines = lines(&file, 6).await;
    assert_eq!(lines.len(), 6, "neither health checks nor other paths: {lines:?}");
    for line in &lines {
        let members: BTreeSet<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(MEMBERS), "{line}");
        assert_eq!((&line["client"], &line["http_method"]), (&json!("127.0.0.1"), &json!("POST")));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z') && line["duration_ms"].is_u64());
    }

    let allowed = &lines[0];
    assert_eq!(allowed["request_id"].as_str(), answer.header("x-request-id"));
    assert_eq!(allowed["principal"], json!({"issuer": issuer.url(), "subject": "alice", "client_id": "app"}));
    assert_eq!(
        (&allowed["caller"], &allowed["decision"], &allowed["reason"]),
        (&json!("principal"), &json!("allowed"), &Value::Null)
    );
    assert_eq!((&allowed["method"], &allowed["name"]), (&json!("tools/call"), &json!("echo")));
    assert_eq!((&allowed["status"], &allowed["result"]), (&json!(200), &json!("success")));
    assert_eq!(allowed["response_bytes"].as_u64(), Some(answer.body.len() as u64));
    assert!(allowed["request_bytes"].as_u64() > Some(100), "{allowed}");

    assert_eq!((&lines[1]["decision"], &lines[1]["result"]), (&json!("allowed"), &json!("error")));
    for (line, reason, status, caller) in [
        (&lines[2], "insufficient_scope", 403, "principal"),
        (&lines[3], "unauthenticated", 401, "unknown"),
        (&lines[4], "unauthenticated", 401, "unknown"),
        (&lines[5], "origin", 403, "unknown"),
    ] {
        let decision = (&line["decision"], &line["reason"], &line["status"], &line["result"]);
        assert_eq!(decision, (&json!("denied"), &json!(reason), &json!(status), &Value::Null));
        assert_eq!((&line["caller"], line["principal"].is_object()), (&json!(caller), caller == "principal"));
    }
    // Nor the result, which repeats the argument.
    let text = std::fs::read_to_string(&file).unwrap();
    for token in [&good, &poor] {
        assert!(!text.contains(token.rsplit('.').next().unwrap()));
    }
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn limits_and_bad_messages_are_decisions_and_names_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.log");
    let limit = "rate_limits: {per_client: {requests: 4, per_seconds: 3600}}\n";
    let runtime = Runtime::start(&format!("{}{limit}", audit_to(&file))).await;
    call(runtime.mcp, "echo", json!({"text": "a"})).await;
    call(runtime.mcp, &"x".repeat(5000), json!({})).await;
    let bad = request("POST", runtime.mcp, "/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    send(bad.body("{\"secret\":".into()).unwrap()).await;
    let uri = "file:///data?key=uri-secret";
    let read = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri, "_meta": {
        "io.modelcontextprotocol/protocolVersion": crate::client::VERSION,
        "io.modelcontextprotocol/clientCapabilities": {}}}});
    let builder = request("POST", runtime.mcp, "/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", crate::client::VERSION)
        .header("mcp-method", "resources/read")
        .header("mcp-name", uri);
    send(builder.body(read.to_string().into()).unwrap()).await;
    call(runtime.mcp, "echo", json!({"text": "a"})).await;

    let lines = lines(&file, 5).await;
    assert_eq!((&lines[0]["caller"], &lines[0]["principal"]), (&json!("anonymous"), &Value::Null));
    assert_eq!(lines[1]["name"].as_str().map(str::len), Some(256));
    assert_eq!((&lines[2]["reason"], &lines[2]["method"]), (&json!("invalid"), &Value::Null));
    assert_eq!((&lines[3]["method"], &lines[3]["name"]), (&json!("resources/read"), &json!("file:///data")));
    assert_eq!((&lines[4]["reason"], &lines[4]["status"]), (&json!("rate_limited"), &json!(429)));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("secret"));
}

/// `/dev/full` answers each write as a full disk does.
#[tokio::test]
async fn an_audit_that_drops_says_so_and_stops_no_request() {
    let mut runtime = Runtime::start(&audit_to(Path::new("/dev/full"))).await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);
    let line = runtime.line("lines cannot be written").await;
    assert_eq!((&line["section"], &line["level"]), (&json!("audit"), &json!("ERROR")));
    runtime.until(runtime.management, "/metrics", |answer| answer.body.contains("mcp_audit_dropped_total 1")).await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);
}

#[tokio::test]
async fn without_handlers_there_is_no_audit_and_its_lines_are_not_in_the_logs() {
    let mut runtime = Runtime::start(PORTS).await;
    call(runtime.mcp, "echo", json!({"text": "a"})).await;
    runtime.line("request").await;
    assert!(!runtime.lines().iter().any(|line| !line["decision"].is_null()));
    let metrics = get(runtime.management, "/metrics").await.body;
    assert!(metrics.contains("mcp_audit_dropped_total 0"), "there from the start: alerts compare with it");
}
