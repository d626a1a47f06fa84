//! Log lines of the real process.

use serde_json::json;

use crate::client::{call, call_request, get, request, send};
use crate::process::{PORTS, Runtime};

#[tokio::test]
async fn a_request_and_a_call_have_the_documents_fields() {
    let mut runtime = Runtime::start(PORTS).await;
    let answer = call(runtime.mcp, "echo", json!({"text": "my secret words"})).await;
    let id = answer.header("x-request-id").unwrap();

    let access = runtime.line("request").await;
    for field in ["timestamp", "level", "logger", "message", "module", "function", "line", "request_id", "duration_ms"]
    {
        assert!(!access[field].is_null(), "{field}: {access}");
    }
    assert_eq!((access["level"].as_str(), access["request_id"].as_str()), (Some("INFO"), Some(id)));
    assert_eq!(
        (&access["status"], &access["path"], &access["client"]),
        (&json!(200), &json!("/mcp"), &json!("127.0.0.1"))
    );
    assert!(access["timestamp"].as_str().unwrap().ends_with('Z'));

    let tool = runtime.line("tool call").await;
    assert_eq!((tool["tool_name"].as_str(), tool["request_id"].as_str()), (Some("echo"), Some(id)));
    assert!(tool["duration_ms"].is_u64());
    assert!(!runtime.lines().iter().any(|line| line.to_string().contains("secret words")));
}

#[tokio::test]
async fn health_checks_are_not_logged_and_files_get_the_same_lines() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mcp.log");
    let handlers =
        format!("logging: {{handlers: [{{type: console}}, {{type: file, filename: {}}}]}}\n", file.display());
    let mut runtime = Runtime::start(&format!("{PORTS}{handlers}")).await;
    get(runtime.mcp, "/health").await;
    get(runtime.mcp, "/nothing").await;

    let access = runtime.line("request").await;
    assert_eq!(access["path"], "/nothing", "the first line of a request");
    // Each handler writes at its own pace.
    while !std::fs::read_to_string(&file).unwrap().lines().any(|line| line.contains("\"/nothing\"")) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The document's formatter, and nothing else: who parses lines relies on names and types.
#[tokio::test]
async fn a_line_has_the_documents_keys_with_their_types_and_no_others() {
    let mut runtime = Runtime::start(PORTS).await;
    call(runtime.mcp, "echo", json!({"text": "a"})).await;
    let document = ["timestamp", "level", "logger", "message", "module", "function", "line"];
    for (message, own) in [
        ("tool call", &["tool_name", "duration_ms", "result", "request_id"][..]),
        ("request", &["method", "path", "status", "client", "bytes", "duration_ms", "request_id"]),
    ] {
        let line = runtime.line(message).await;
        let mut expected: Vec<_> = document.iter().chain(own).copied().collect();
        let mut keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        expected.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, expected);
        for key in document.into_iter().filter(|key| *key != "line") {
            assert!(line[key].is_string(), "{key}: {line}");
        }
        assert!(line["line"].is_u64() && line["duration_ms"].is_u64() && line["request_id"].is_string(), "{line}");
        assert_eq!(line["logger"].as_str().unwrap().split("::").next(), Some("mcp_server"));
    }
}

#[tokio::test]
async fn a_trace_is_named_in_the_lines_of_its_request() {
    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const META: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut runtime = Runtime::start(PORTS).await;
    let builder = request("POST", runtime.mcp, "/mcp").header("traceparent", HEADER);
    send(call_request(builder, "echo", &json!({"text": "a"}))).await;
    for message in ["request", "tool call"] {
        let line = runtime.line(message).await;
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c", "{message}");
    }

    let builder = request("POST", runtime.mcp, "/mcp").header("traceparent", HEADER);
    let (parts, body) = call_request(builder, "add", &json!({"a": 1, "b": 2})).into_parts();
    let mut message: serde_json::Value = serde_json::from_slice(&body_bytes(body).await).unwrap();
    message["params"]["_meta"]["traceparent"] = META.into();
    send(http::Request::from_parts(parts, message.to_string().into())).await;
    let call = runtime.line_where(|line| line["tool_name"] == "add").await;
    assert_eq!(call["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "the client's own context is nearer");
    let id = &call["request_id"];
    let access = runtime.line_where(|line| line["message"] == "request" && line["request_id"] == *id).await;
    assert_eq!(access["trace_id"], call["trace_id"]);

    let builder = request("POST", runtime.mcp, "/mcp").header("traceparent", "00-junk");
    let answer = send(call_request(builder, "echo", &json!({"text": "a"}))).await;
    assert_eq!(answer.status, 200, "a malformed context never fails a request");
}

#[tokio::test]
async fn a_log_file_that_was_moved_away_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (file, moved) = (directory.path().join("mcp.log"), directory.path().join("mcp.log.1"));
    let handlers =
        format!("logging: {{handlers: [{{type: console}}, {{type: file, filename: {}}}]}}\n", file.display());
    let runtime = Runtime::start(&format!("{PORTS}{handlers}")).await;
    let until = async |file: &std::path::Path, text: &str| {
        while !std::fs::read_to_string(file).unwrap_or_default().contains(text) {
            get(runtime.mcp, text).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    until(&file, "/before").await;

    std::fs::rename(&file, &moved).unwrap();
    runtime.signal(rustix::process::Signal::HUP);
    until(&file, "/after-hangup").await;

    std::fs::remove_file(&file).unwrap();
    until(&file, "/after-removal").await;
    let old = std::fs::read_to_string(moved).unwrap();
    assert!(old.contains("/before") && !old.contains("/after-removal"), "{old}");
}

/// `/dev/full` answers each write as a full disk does.
#[tokio::test]
async fn a_full_disk_stops_no_request_and_is_told() {
    let handlers = "logging: {handlers: [{type: console}, {type: file, filename: /dev/full}]}\n";
    let mut runtime = Runtime::start(&format!("{PORTS}{handlers}")).await;
    let line = runtime.line("lines cannot be written").await;
    assert_eq!((line["level"].as_str(), line["target"].as_str()), (Some("ERROR"), Some("/dev/full")));
    assert!(line["exception"].as_str().unwrap().contains("No space left"), "{line}");
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);
    let lost = |answer: &crate::client::Answer| {
        let line =
            answer.body.lines().find_map(|line| line.strip_prefix("mcp_log_lines_dropped_total ").map(str::to_owned));
        line.is_some_and(|count| count != "0")
    };
    runtime.until(runtime.management, "/metrics", lost).await;
}

#[tokio::test]
async fn no_line_is_lost_at_the_end() {
    let mut runtime = Runtime::start(PORTS).await;
    for _ in 0..50 {
        get(runtime.mcp, "/last-words").await;
    }
    runtime.signal(rustix::process::Signal::TERM);
    assert!(runtime.ended().await.success());
    runtime.line("stopped").await;
    let count = runtime.lines().iter().filter(|line| line["path"] == "/last-words").count();
    assert_eq!(count, 50);
}

async fn body_bytes(body: http_body_util::Full<bytes::Bytes>) -> bytes::Bytes {
    http_body_util::BodyExt::collect(body).await.unwrap().to_bytes()
}

#[tokio::test]
async fn text_is_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mcp.log");
    let logging = format!("logging: {{format: text, handlers: [{{type: file, filename: {}}}]}}\n", file.display());
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, format!("{PORTS}{logging}")).unwrap();
    let _child = crate::process::program().arg("--config").arg(config).spawn().unwrap();
    let written = loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.contains("serving") {
            break text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(written.contains("Z INFO    mcp_server::runtime: serving"), "{written}");
}

#[tokio::test]
async fn the_user_is_named_and_the_token_is_not() {
    let issuer = e2e_issuer::Issuer::start(e2e_issuer::Options::default()).await.unwrap();
    let auth = format!("auth: {{issuer_url: '{}'}}\nlogging: {{level: TRACE}}\n", issuer.url());
    let mut runtime = Runtime::start(&format!("{PORTS}{auth}")).await;
    runtime.until_ready().await;
    let audience = format!("http://{}/mcp", runtime.mcp);
    let token = issuer.token().audience(&audience).claim("sub", "alice").mint().unwrap();

    let authorization = format!("Bearer {token}");
    let builder = request("POST", runtime.mcp, "/mcp").header("authorization", authorization);
    let answer = send(call_request(builder, "echo", &json!({"text": "hello"}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    for message in ["request", "tool call"] {
        assert_eq!(runtime.line(message).await["user_id"], "alice", "{message}");
    }
    let signature = token.rsplit('.').next().unwrap();
    assert!(!runtime.lines().iter().any(|line| line.to_string().contains(signature)));
}

/// Who reads the logs must not be able to take over a session, nor see what clients say of themselves.
#[tokio::test]
async fn no_line_has_a_session_id_or_what_a_client_sent() {
    let mut runtime = Runtime::start(&format!("{PORTS}logging: {{level: TRACE}}\n")).await;
    let post = |session: Option<String>, message: serde_json::Value| {
        let builder = request("POST", runtime.mcp, "/mcp")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        let builder = session.into_iter().fold(builder, |builder, id| builder.header("mcp-session-id", id));
        send(builder.body(message.to_string().into()).unwrap())
    };
    let client = json!({"name": "client-secret-name", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    let answer =
        post(None, json!({"jsonrpc": "2.0", "id": "id-secret", "method": "initialize", "params": params})).await;
    let session = answer.header("mcp-session-id").unwrap().to_owned();
    for message in [
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
               "params": {"requestId": "other-secret", "reason": "reason-secret"}}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "a"}}}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "unknown-tool"}}),
    ] {
        post(Some(session.clone()), message).await;
    }
    let delete = request("DELETE", runtime.mcp, "/mcp").header("mcp-session-id", &session);
    send(delete.body(http_body_util::Full::default()).unwrap()).await;
    get(runtime.mcp, "/last").await;

    runtime.line_where(|line| line["path"] == "/last").await;
    runtime.line("tool call").await;
    for line in runtime.lines() {
        let text = line.to_string();
        assert!(!text.contains(&session) && !text.contains("secret"), "{text}");
    }
}
