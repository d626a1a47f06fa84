//! The built-in server in 2026-07-28: every request alone.

mod mcp_support;

use http::{Method, StatusCode};
use mcp_support::{Http, Runtime, config, eventually, modern};
use serde_json::{Value, json};

async fn post(http: &Http, headers: &[(&'static str, String)], message: &Value) -> (u16, Value) {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = http.post(&headers, message).await;
    (reply.status.as_u16(), reply.message().await)
}

#[tokio::test]
async fn it_tells_what_it_is() {
    let runtime = Runtime::start(config()).await;
    let result = Http::new(&runtime.url()).ask("server/discover", json!({})).await.message().await["result"].take();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["supportedVersions"], json!(["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]));
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "test");
    assert!(result["capabilities"]["tools"].is_object());
    assert!(result["ttlMs"].is_u64() && result["cacheScope"].is_string());
}

#[tokio::test]
async fn tools_are_listed_with_all_that_clients_show() {
    let runtime = Runtime::start(config()).await;
    let result = Http::new(&runtime.url()).ask("tools/list", json!({})).await.message().await["result"].take();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["ttlMs"], 300_000);
    assert_eq!(result["cacheScope"], "private");
    let tools = result["tools"].as_array().expect("tools");
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["add", "echo", "progress", "sleep", "whoami"]);
    for tool in tools {
        assert!(tool["title"].is_string() && tool["description"].is_string(), "{tool}");
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
        assert!(!tool.to_string().contains("\"format\""), "validators do not know Rust's numbers: {tool}");
    }
    let report = runtime.endpoint.report();
    assert_eq!((report.tools, report.kind.as_str()), (Some(5), "builtin"));
    assert_eq!(report.protocol_versions, ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]);
}

#[tokio::test]
async fn tools_answer_and_are_counted() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url()).caller("alice");
    let sum = http.call("add", json!({"a": 1.5, "b": 2})).await;
    assert_eq!(sum["result"]["structuredContent"]["sum"], 3.5);
    assert_eq!(sum["id"], 7);
    let echo = http.call("echo", json!({"text": "héllo"})).await;
    assert_eq!(echo["result"]["content"][0]["text"], "héllo");
    let me = http.call("whoami", json!({})).await["result"]["structuredContent"].take();
    assert_eq!((&me["subject"], &me["clientId"]), (&json!("alice"), &json!("client")));
    assert_eq!((&me["scopes"], &me["anonymous"]), (&json!(["read", "user"]), &json!(false)));
    let nobody = Http::new(&runtime.url()).call("whoami", json!({})).await;
    assert_eq!(nobody["result"]["structuredContent"]["anonymous"], true);
    let metrics = runtime.metrics_text();
    assert!(
        metrics.contains(r#"mcp_tool_calls_total{endpoint="test",result="success",tool_name="whoami"} 2"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn wrong_arguments_are_errors_of_the_tool_and_name_the_argument() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    for (tool, arguments, word) in [
        ("add", json!({"a": 1}), "`b`"),
        ("add", json!({"a": "x", "b": 1}), "string"),
        ("add", json!({"a": 1, "b": 1, "c": 1}), "`c`"),
        ("add", json!({"a": 1e308, "b": 1e308}), "too large"),
        ("echo", json!({"text": "x".repeat(65_537)}), "65536"),
        ("progress", json!({"steps": 0}), "steps"),
        ("progress", json!({"steps": 1000, "delayMs": 3_600_000}), "delayMs"),
        ("sleep", json!({"ms": 3_600_001}), "3600000"),
    ] {
        let answer = http.call(tool, arguments.clone()).await;
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let text = answer["result"]["content"][0]["text"].as_str().expect("text");
        assert!(text.contains(word), "{arguments}: {text}");
    }
    let metrics = runtime.metrics_text();
    assert!(metrics.contains(r#"{endpoint="test",result="error",tool_name="add"} 4"#), "{metrics}");
}

#[tokio::test]
async fn an_unknown_tool_is_an_error_of_the_request_and_its_name_no_label() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    assert_eq!(http.call("no-such-tool", json!({})).await["error"]["code"], -32602);
    let metrics = runtime.metrics_text();
    assert!(!metrics.contains("no-such-tool") && metrics.contains(r#"tool_name="_other""#), "{metrics}");
    // A call without a name is not an unknown method.
    let (headers, mut message) = modern("tools/call", json!({"name": "add"}));
    message["params"]["name"] = json!(7);
    let (status, answer) = post(&http, &headers, &message).await;
    assert_eq!((status, answer["error"]["code"].as_i64()), (200, Some(-32602)), "{answer}");
}

#[tokio::test]
async fn headers_must_say_what_the_body_says() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let call = || modern("tools/call", json!({"name": "add", "arguments": {"a": 1, "b": 2}}));
    let without = |name: &str| {
        let (headers, message) = call();
        (headers.into_iter().filter(|(of, _)| *of != name).collect::<Vec<_>>(), message)
    };
    let with = |name: &'static str, value: &str| {
        let (mut headers, message) = without(name);
        headers.push((name, value.to_owned()));
        (headers, message)
    };
    for (headers, message) in [
        with("mcp-method", "tools/list"),
        with("mcp-name", "echo"),
        with("mcp-name", "ADD"),
        with("mcp-protocol-version", "2025-11-25"),
        without("mcp-method"),
        without("mcp-name"),
        without("mcp-protocol-version"),
    ] {
        let (status, answer) = post(&http, &headers, &message).await;
        assert_eq!((status, answer["error"]["code"].as_i64()), (400, Some(-32020)), "{headers:?} {answer}");
        assert_eq!(answer["id"], 7);
    }
    // Encoded values are compared decoded: SEP-2243.
    let (status, answer) = {
        let (headers, message) = with("mcp-name", "=?base64?YWRk?=");
        post(&http, &headers, &message).await
    };
    assert_eq!((status, &answer["result"]["structuredContent"]["sum"]), (200, &json!(3.0)), "{answer}");
}

#[tokio::test]
async fn what_the_revision_does_not_know_is_refused() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    for method in ["ping", "initialize", "logging/setLevel", "resources/subscribe", "prompts/list", "no/such"] {
        let reply = http.ask(method, json!({"level": "info", "uri": "x:y"})).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method}");
        assert_eq!(reply.json().await["error"]["code"], -32601, "{method}");
    }
    for method in [Method::GET, Method::DELETE] {
        let headers = [("accept", "text/event-stream"), ("mcp-protocol-version", "2026-07-28")];
        let reply = http.send(method, &headers, "").await;
        assert_eq!((reply.status, reply.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    }
    let (mut headers, mut message) = modern("tools/list", json!({}));
    headers[0].1 = "2099-01-01".to_owned();
    message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let (status, answer) = post(&http, &headers, &message).await;
    assert_eq!((status, answer["error"]["code"].as_i64()), (400, Some(-32022)));
    assert!(answer["error"]["data"]["supported"].as_array().expect("a list").contains(&json!("2026-07-28")));
    // A message without its metadata.
    let (headers, _) = modern("tools/list", json!({}));
    let (status, answer) = post(&http, &headers, &json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})).await;
    assert_eq!((status, answer["error"]["code"].as_i64()), (400, Some(-32602)), "{answer}");
}

#[tokio::test]
async fn progress_arrives_while_the_call_runs() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let mut reply =
        http.ask("tools/call", json!({"name": "progress", "arguments": {"steps": 2, "delayMs": 3_000}})).await;
    assert!(reply.is_event_stream());
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    let first = reply.event().await.expect("an event").data().expect("data");
    assert_eq!((&first["method"], &first["params"]["progress"]), (&json!("notifications/progress"), &json!(1.0)));
    // The call goes on: nothing is counted yet.
    assert!(!runtime.metrics_text().contains(r#"tool_name="progress""#));
    assert_eq!(reply.message().await["result"]["structuredContent"]["steps"], 2);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let mut reply =
        http.ask("tools/call", json!({"name": "progress", "arguments": {"steps": 10, "delayMs": 300_000}})).await;
    reply.event().await.expect("the call runs");
    drop(reply);
    let counted = r#"mcp_tool_calls_total{endpoint="test",result="error",tool_name="progress"} 1"#;
    eventually("the call is cancelled", || runtime.metrics_text().contains(counted)).await;
}

#[tokio::test]
async fn a_listen_is_acknowledged_and_completed_when_the_process_ends() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let mut reply = http.ask("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})).await;
    let acknowledged = reply.event().await.expect("an event").data().expect("data");
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);

    runtime.endpoint.begin_drain();
    let completed = reply.event().await.expect("an event").data().expect("data");
    assert_eq!((&completed["id"], &completed["result"]["resultType"]), (&json!(7), &json!("complete")));
    assert!(reply.event().await.is_none());
    let again = http.ask("subscriptions/listen", json!({"notifications": {}})).await;
    assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(again.header("retry-after").is_some());
}

#[tokio::test]
async fn the_drain_waits_for_calls_and_tells_those_that_it_cuts() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let long = json!({"name": "progress", "arguments": {"steps": 10, "delayMs": 300_000}});
    let mut long = http.ask("tools/call", long).await;
    long.event().await.expect("the call runs");
    let listening = http.ask("subscriptions/listen", json!({"notifications": {}})).await;

    runtime.endpoint.begin_drain();
    drop(listening);
    let done = runtime.endpoint.in_flight_done();
    tokio::pin!(done);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), &mut done).await;
    assert!(waited.is_err(), "a call is under way");
    // Calls are served to the end.
    assert_eq!(http.call("add", json!({"a": 1, "b": 1})).await["result"]["structuredContent"]["sum"], 2.0);

    runtime.endpoint.cancel();
    let cut = long.event().await.expect("an answer").data().expect("data");
    assert_eq!((&cut["id"], &cut["error"]["code"]), (&json!(7), &json!(-32603)));
    assert!(long.event().await.is_none());
    tokio::time::timeout(mcp_support::PATIENCE, done).await.expect("nothing is under way");
}

#[tokio::test]
async fn a_call_has_a_time_limit() {
    let mut config = config();
    config.server.stream_timeout_seconds = 1;
    let runtime = Runtime::start(config).await;
    let http = Http::new(&runtime.url());
    let silent = http.ask("tools/call", json!({"name": "sleep", "arguments": {"ms": 600_000}})).await;
    assert_eq!(silent.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(silent.json().await["id"], 7);
    let steps = json!({"name": "progress", "arguments": {"steps": 2, "delayMs": 600_000}});
    let streamed = http.ask("tools/call", steps).await.message().await;
    assert_eq!(streamed["error"]["code"], -32603);
}
