//! The byte proxy: in front of a second runtime with the built-in tools, and of backends that misbehave.

mod mcp_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};
use mcp_server_config::report::BackendState;
use mcp_support::redis::Redis;
use mcp_support::upstream::{Upstream, json_response};
use mcp_support::{Http, Runtime, config, eventually, proxy};
use serde_json::{Value, json};

/// A proxy in front of a built-in server.
async fn chain() -> (Runtime, Runtime, Http) {
    let backend = Runtime::start(config()).await;
    let front = Runtime::start(proxy(&backend.url())).await.ready().await;
    let http = Http::new(&front.url()).caller("alice");
    (backend, front, http)
}

/// A proxy in front of a backend that answers everything with `answer`.
async fn fake<F>(answer: F) -> (Upstream, Runtime, Http)
where
    F: Fn(Method, Value) -> Response + Clone + Send + Sync + 'static,
{
    let upstream = Upstream::start(answer).await;
    let front = Runtime::start(proxy(&upstream.url)).await.ready().await;
    let http = Http::new(&front.url());
    (upstream, front, http)
}

fn respond(status: u16, content_type: &str, body: &str) -> Response {
    let response = Response::builder().status(status).header("content-type", content_type);
    response.body(Body::from(body.to_owned())).expect("valid")
}

#[tokio::test]
async fn the_handshake_tells_what_the_backend_is() {
    let (backend, front, _) = chain().await;
    let (report, theirs) = (front.endpoint.report(), backend.endpoint.report());
    assert_eq!((report.kind.as_str(), report.state), ("container", BackendState::Ready));
    assert_eq!(report.server_name.as_deref(), Some("test"));
    assert_eq!(report.protocol_versions, ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]);
    assert_eq!((report.tools, report.tools_digest), (Some(5), theirs.tools_digest));
    assert_ne!(report.reachable_directly, Some(true), "it listens at 127.0.0.1 only");
    assert_eq!(backend.endpoint.sessions(), 0, "the handshake leaves no session");
}

#[tokio::test]
async fn an_older_backend_is_asked_with_a_session_which_is_given_back() {
    let deleted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&deleted);
    let backend = mcp_support::upstream::legacy(counted).await;
    let front = Runtime::start(proxy(&backend.0)).await.ready().await;
    let report = front.endpoint.report();
    assert_eq!(report.protocol_versions, ["2025-06-18"]);
    assert_eq!((report.server_name.as_deref(), report.tools), (Some("old"), Some(2)));
    assert_eq!(deleted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_backend_that_comes_late_is_waited_for_and_one_that_goes_is_missed() {
    let port = mcp_support::redis::free_port();
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let front = Runtime::start(proxy(&format!("http://{address}/mcp"))).await;
    eventually("the handshake fails", || front.endpoint.report().state == BackendState::Failed).await;
    assert_eq!(front.endpoint.report().error.as_deref(), Some("the backend does not listen at its port"));
    assert!(!front.endpoint.ready_once());

    let backend = Runtime::start_at(config(), address).await;
    let front = front.ready().await;
    drop(backend);
    let reply = Http::new(&front.url()).ask("tools/list", json!({})).await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    let error = reply.json().await;
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(-32603)));
    assert!(!error.to_string().contains(&port.to_string()), "no address: {error}");
    // The failed request makes the runtime look again.
    eventually("the loss is noticed", || front.endpoint.report().state == BackendState::Failed).await;
    assert!(front.endpoint.ready_once(), "readiness is not lost with the backend");
    assert_eq!(front.endpoint.report().tools, Some(5), "what was learned stays");
}

#[tokio::test]
async fn calls_pass_and_are_counted_by_their_outcome() {
    let (_backend, front, http) = chain().await;
    assert_eq!(http.call("add", json!({"a": 1, "b": 2})).await["result"]["structuredContent"]["sum"], 3.0);
    assert_eq!(http.call("add", json!({"a": 1})).await["result"]["isError"], true);
    assert_eq!(http.call("none", json!({})).await["error"]["code"], -32602);
    let progress = http.call("progress", json!({"steps": 2})).await;
    assert_eq!(progress["result"]["structuredContent"]["steps"], 2);
    let count = |tool: &str, result: &str| {
        let line = format!(r#"mcp_tool_calls_total{{endpoint="test",result="{result}",tool_name="{tool}"}} 1"#);
        let text = front.metrics_text();
        text.contains(&line)
    };
    eventually("all calls are counted", || {
        count("add", "success") && count("add", "error") && count("_other", "error") && count("progress", "success")
    })
    .await;
}

#[tokio::test]
async fn events_arrive_while_the_call_runs() {
    let (backend, front, http) = chain().await;
    let arguments = json!({"steps": 2, "delayMs": 3_000});
    let mut reply = http.ask("tools/call", json!({"name": "progress", "arguments": arguments})).await;
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    assert_eq!(reply.event().await.expect("an event").data().expect("data")["params"]["progress"], 1.0);
    for runtime in [&backend, &front] {
        assert!(!runtime.metrics_text().contains(r#"tool_name="progress""#), "the call is not over");
    }
    assert_eq!(reply.message().await["result"]["structuredContent"]["steps"], 2);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_call_at_the_backend() {
    let (backend, front, http) = chain().await;
    let arguments = json!({"steps": 9, "delayMs": 300_000});
    let mut reply = http.ask("tools/call", json!({"name": "progress", "arguments": arguments})).await;
    reply.event().await.expect("the call runs");
    drop((reply, http));
    let counted = r#"mcp_tool_calls_total{endpoint="test",result="error",tool_name="progress"} 1"#;
    for runtime in [&front, &backend] {
        eventually("the call is cancelled", || runtime.metrics_text().contains(counted)).await;
    }
}

#[tokio::test]
async fn a_session_has_a_name_of_ours_and_an_owner() {
    let (backend, front, alice) = chain().await;
    let session = alice.session().await;
    assert_eq!((backend.endpoint.sessions(), front.endpoint.sessions()), (1, 1));
    let me = alice.call_in(&session, "add", json!({"a": 1, "b": 2})).await;
    assert_eq!(me.message().await["result"]["structuredContent"]["sum"], 3.0);
    // The name that the client has is not the backend's.
    assert_eq!(Http::new(&backend.url()).end(&session).await, StatusCode::NOT_FOUND);

    let mallory = Http::new(&front.url()).caller("mallory");
    assert_eq!(mallory.call_in(&session, "add", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(mallory.listen_in(&session, None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(mallory.end(&session).await, StatusCode::NOT_FOUND);

    assert!(alice.end(&session).await.is_success());
    assert_eq!((backend.endpoint.sessions(), front.endpoint.sessions()), (0, 0));
    assert_eq!(alice.call_in(&session, "add", json!({})).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_that_the_backend_lost_is_404_for_the_client() {
    let backend = Runtime::start(config()).await;
    let address = backend.address;
    let front = Runtime::start(proxy(&backend.url())).await.ready().await;
    let http = Http::new(&front.url());
    let session = http.session().await;
    drop(backend);
    let _backend = loop {
        // The port may take a moment to be free again.
        if std::net::TcpListener::bind(address).is_ok() {
            break Runtime::start_at(config(), address).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(http.call_in(&session, "add", json!({"a": 1, "b": 2})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(front.endpoint.sessions(), 0);
    http.session().await;
}

#[tokio::test]
async fn without_a_shared_key_sessions_of_a_stateful_backend_stay_with_their_replica_and_others_do_not() {
    let redis = Redis::start().await;
    std::fs::remove_file(redis.dir.path().join("keys/peer")).expect("removed");
    let backend = Runtime::start(config()).await;
    for stateless in [false, true] {
        let mut config = redis.config(proxy(&backend.url()));
        if let mcp_server_config::Backend::Container(section) = &mut config.backend {
            section.stateless = stateless;
        }
        let (a, b) = (Runtime::start(config.clone()).await.ready().await, Runtime::start(config).await.ready().await);
        let session = Http::new(&a.url()).session().await;
        let elsewhere = Http::new(&b.url()).call_in(&session, "add", json!({"a": 1, "b": 2})).await;
        let expected = if stateless { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(elsewhere.status, expected, "stateless: {stateless}");
    }
}

#[tokio::test]
async fn idle_sessions_are_ended_at_the_backend_too_and_the_cap_holds() {
    let backend = Runtime::start(config()).await;
    let mut config = proxy(&backend.url());
    config.sessions.idle_timeout_seconds = 1;
    config.sessions.max = Some(1);
    let front = Runtime::start(config).await.ready().await;
    let http = Http::new(&front.url());
    http.session().await;
    assert_eq!(http.initialize("2025-11-25").await.status, StatusCode::SERVICE_UNAVAILABLE);
    eventually("the session ends here and there", || {
        front.endpoint.sessions() == 0 && backend.endpoint.sessions() == 0
    })
    .await;
}

#[tokio::test]
async fn the_backend_sees_no_credential_and_the_client_no_cookie() {
    let (upstream, _front, http) = fake(|_, message| {
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}});
        let mut response = json_response(&answer);
        for (name, value) in [("set-cookie", "a=b"), ("mcp-session-id", "raw"), ("server", "x"), ("x-secret", "y")] {
            response.headers_mut().insert(name, value.parse().expect("a value"));
        }
        response
    })
    .await;
    let (mut headers, message) = mcp_support::modern("tools/call", json!({"name": "known", "arguments": {}}));
    headers.extend([
        ("authorization", "Bearer secret".to_owned()),
        ("cookie", "c=d".to_owned()),
        ("origin", "https://page.example".to_owned()),
        ("x-forwarded-for", "6.6.6.6".to_owned()),
        ("mcp-param-region", "eu".to_owned()),
        ("traceparent", "00-1-2-01".to_owned()),
    ]);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = http.post(&headers, &message).await;
    let mut names: Vec<_> = reply.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "date"]);

    let seen = upstream.headers_of("tools/call");
    for absent in ["authorization", "cookie", "origin", "x-test-caller"] {
        assert!(!seen.contains_key(absent), "{absent}");
    }
    assert_eq!(seen["host"], upstream.url.split('/').nth(2).expect("a host"));
    assert_eq!(seen["x-forwarded-for"], "192.0.2.9");
    assert_eq!(seen["x-forwarded-proto"], "https");
    assert_eq!(seen["mcp-name"], "known");
    assert_eq!(seen["mcp-param-region"], "eu");
    assert_eq!(seen["mcp-protocol-version"], "2026-07-28");
    assert_eq!(seen["traceparent"], "00-1-2-01");
}

#[tokio::test]
async fn unknown_members_survive_byte_for_byte() {
    let (_upstream, _front, http) = fake(|_, message| {
        assert_eq!(message["params"]["x-extension"], json!({"a": [1, null]}));
        respond(200, "application/json", "{ \"id\":7,  \"jsonrpc\":\"2.0\",\"result\":{\"new\":1.50},\"extra\":null}")
    })
    .await;
    let (headers, mut message) = mcp_support::modern("vendor/method", json!({}));
    message["params"]["x-extension"] = json!({"a": [1, null]});
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let text = http.post(&headers, &message).await.text().await;
    assert_eq!(text, "{ \"id\":7,  \"jsonrpc\":\"2.0\",\"result\":{\"new\":1.50},\"extra\":null}");
}

#[tokio::test]
async fn what_would_mislead_the_client_is_replaced() {
    for (status, content_type, body, expected, code) in [
        (401, "text/plain", "who are you", 502, -32603),
        (401, "application/json", "{}", 502, -32603),
        (302, "text/html", "moved", 502, -32603),
        (200, "text/html", "<html>", 502, -32603),
        (500, "text/html", "at line 7: secret", 502, -32603),
        (400, "text/plain", "secret", 400, -32600),
        (403, "text/plain", "bad host", 403, -32600),
        (405, "text/plain", "no", 405, -32000),
    ] {
        let (_upstream, _front, http) = fake(move |_, _| respond(status, content_type, body)).await;
        let reply = http.ask("tools/list", json!({})).await;
        assert_eq!(reply.status.as_u16(), expected, "{status} {content_type}");
        assert!(reply.header("location").is_none() && reply.header("www-authenticate").is_none());
        let error = reply.json().await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(code)), "{status} {error}");
        assert!(!error.to_string().contains("secret"));
    }
    // An error that is JSON is the backend's own answer.
    let own = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32021,"message":"theirs"}}"#;
    let (_upstream, _front, http) = fake(move |_, _| respond(400, "application/json", own)).await;
    let reply = http.ask("tools/list", json!({})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.text().await, own);
}

#[tokio::test]
async fn a_silent_backend_is_given_up_after_the_time_limit() {
    let backend = Runtime::start(config()).await;
    let mut config = proxy(&backend.url());
    config.server.stream_timeout_seconds = 1;
    let front = Runtime::start(config).await.ready().await;
    let http = Http::new(&front.url());
    let reply = http.ask("tools/call", json!({"name": "sleep", "arguments": {"ms": 600_000}})).await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(reply.json().await["id"], 7);
    let counted = r#"mcp_tool_calls_total{endpoint="test",result="error",tool_name="sleep"} 1"#;
    eventually("it is cancelled there too", || backend.metrics_text().contains(counted)).await;
}

#[tokio::test]
async fn streams_that_belong_to_no_call_end_properly_when_the_process_does() {
    let (_backend, front, http) = chain().await;
    let session = http.session().await;
    let mut stream = http.listen_in(&session, None).await;
    let mut listen = http.ask("subscriptions/listen", json!({"notifications": {}})).await;
    let acknowledged = listen.event().await.expect("an event").data().expect("data");
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");

    front.endpoint.begin_drain();
    assert!(stream.event().await.expect("an event").field("id").is_some(), "where it begins");
    assert_eq!(stream.event().await.expect("an event").field("retry"), Some("1000"));
    assert!(stream.event().await.is_none());
    let completed = listen.event().await.expect("an event").data().expect("data");
    assert_eq!((&completed["id"], &completed["result"]["resultType"]), (&json!(7), &json!("complete")));
    assert!(listen.event().await.is_none());
    assert_eq!(http.initialize("2025-11-25").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(http.call("add", json!({"a": 1, "b": 2})).await["result"]["structuredContent"]["sum"], 3.0);
    tokio::time::timeout(mcp_support::PATIENCE, front.endpoint.in_flight_done()).await.expect("no call is under way");
}

#[tokio::test]
async fn https_within_a_pod_is_refused_at_start() {
    let config = proxy("https://127.0.0.1:1/mcp");
    let state = mcp_server::state::State::open(&config).await.expect("opened");
    let metrics = mcp_server::metrics::Metrics::new("test").expect("metrics");
    let error = mcp_server::mcp::Endpoint::start(&config, state, metrics).await.map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains("only http"), "{error}");
}

#[tokio::test]
async fn where_no_answer_is_owed_none_is_passed_on() {
    for (status, content_type, body) in
        [(200, "text/html", "<html>ok"), (200, "application/json", "{}"), (200, "text/plain", "ok"), (204, "x/y", "")]
    {
        let (_upstream, _front, http) = fake(move |_, _| respond(status, content_type, body)).await;
        for message in [
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {}}),
        ] {
            let reply = http.post(&[], &message).await;
            assert_eq!(reply.status, StatusCode::ACCEPTED, "{status} {content_type}");
            assert!(reply.header("content-type").is_none());
            assert_eq!(reply.text().await, "");
        }
        let reply = http.send(Method::DELETE, &[], "").await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        assert_eq!(reply.text().await, "");
    }
    let (_upstream, _front, http) = fake(|_, _| respond(400, "text/plain", "secret")).await;
    let reply = http.post(&[], &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_session_that_the_backend_will_not_end_is_over_for_the_client() {
    let (_upstream, front, http) = fake(|method, message| {
        if method == Method::DELETE {
            return respond(405, "text/plain", "no");
        }
        let mut response = json_response(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {}}));
        response.headers_mut().insert("mcp-session-id", "theirs".parse().expect("a value"));
        response
    })
    .await;
    let session = http.session().await;
    assert_eq!(http.end(&session).await, StatusCode::NO_CONTENT);
    assert_eq!(front.endpoint.sessions(), 0);
    assert_eq!(http.end(&session).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_document_that_does_not_end_is_broken_off() {
    let upstream = Upstream::start(|_, _| {
        let begun = futures::stream::iter([Ok::<_, std::io::Error>("{\"jsonrpc\":")]);
        let body = Body::from_stream(futures::StreamExt::chain(begun, futures::stream::pending()));
        Response::builder().header("content-type", "application/json").body(body).expect("valid")
    })
    .await;
    let mut config = proxy(&upstream.url);
    config.server.stream_timeout_seconds = 1;
    let front = Runtime::start(config).await.ready().await;
    let reply = Http::new(&front.url()).ask("tools/list", json!({})).await;
    assert_eq!(reply.status, StatusCode::OK);
    let body = http_body_util::BodyExt::collect(reply.body);
    let body = tokio::time::timeout(mcp_support::PATIENCE, body).await.expect("no hang");
    assert!(body.is_err(), "half a document is no answer");
}

/// Sends a call of 2026-07-28 with its headers changed.
async fn changed(http: &Http, params: Value, change: impl FnOnce(&mut Vec<(&'static str, String)>)) -> (u16, i64) {
    let (mut headers, message) = mcp_support::modern("tools/call", params);
    change(&mut headers);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = http.post(&headers, &message).await;
    let status = reply.status.as_u16();
    let answer = reply.message().await;
    assert_eq!(answer["id"], 7);
    (status, answer["error"]["code"].as_i64().unwrap_or_default())
}

#[tokio::test]
async fn headers_of_2026_07_28_say_what_the_body_says_or_the_backend_is_not_asked() {
    let (upstream, _front, http) =
        fake(|_, message| json_response(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})))
            .await;
    let known = || json!({"name": "known", "arguments": {}});
    let set = |name: &'static str, value: &'static str| {
        move |headers: &mut Vec<(&'static str, String)>| {
            headers.retain(|(other, _)| *other != name);
            headers.push((name, value.to_owned()));
        }
    };
    let without = |name: &'static str| move |headers: &mut Vec<(&'static str, String)>| headers.retain(|h| h.0 != name);
    let mismatch = (400, -32020);
    for name in ["mcp-protocol-version", "mcp-method", "mcp-name"] {
        assert_eq!(changed(&http, known(), without(name)).await, mismatch, "without {name}");
    }
    assert_eq!(changed(&http, known(), set("mcp-protocol-version", "2025-11-25")).await, mismatch);
    assert_eq!(changed(&http, known(), set("mcp-method", "tools/list")).await, mismatch);
    assert_eq!(changed(&http, known(), set("mcp-method", "Tools/call")).await, mismatch, "values have a case");
    assert_eq!(changed(&http, known(), set("mcp-name", "other")).await, mismatch);
    assert_eq!(changed(&http, known(), set("mcp-name", "=?base64?b3RoZXI=?=")).await, mismatch);
    assert_eq!(changed(&http, known(), set("mcp-name", "=?base64?*?=")).await, mismatch);
    let mirrored = |region: &str| json!({"name": "mirrored", "arguments": {"region": region}});
    assert_eq!(changed(&http, mirrored("eu"), |_| {}).await, mismatch, "the argument is not repeated");
    assert_eq!(changed(&http, mirrored("eu"), set("mcp-param-region", "us")).await, mismatch);
    assert!(!upstream.seen.lock().expect("no panic").iter().any(|(method, _)| method == "tools/call"));

    assert_eq!(changed(&http, known(), set("mcp-name", "=?base64?a25vd24=?=")).await, (200, 0));
    assert_eq!(changed(&http, mirrored("eu"), set("mcp-param-region", "eu")).await, (200, 0));
    assert_eq!(changed(&http, mirrored("\u{fc}"), set("mcp-param-region", "=?base64?w7w=?=")).await, (200, 0));
    assert_eq!(changed(&http, known(), set("mcp-param-region", "eu")).await, (200, 0), "of no tool that has it");
}

#[tokio::test]
async fn a_revision_that_nobody_speaks_is_400_with_those_that_are() {
    let (_upstream, _front, http) =
        fake(|_, message| json_response(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {}}))).await;
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
    for version in ["2024-11-05", "2099-01-01", "junk"] {
        let reply = http.post(&[("mcp-protocol-version", version)], &ping).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{version}");
        let error = reply.json().await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(-32022)));
        assert_eq!(error["error"]["data"]["supported"][0], "2026-07-28");
    }
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(http.post(&[("mcp-protocol-version", version)], &ping).await.status, StatusCode::OK, "{version}");
    }
    assert_eq!(http.post(&[], &ping).await.status, StatusCode::OK, "without a header it is the oldest");
}

#[tokio::test]
async fn a_client_of_2026_07_28_sends_no_responses() {
    let (_backend, _front, http) = chain().await;
    let reply =
        http.post(&[("mcp-protocol-version", "2026-07-28")], &json!({"jsonrpc": "2.0", "id": 1, "result": {}})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stream_that_ends_before_its_answer_gets_an_error_for_its_id_and_the_call_is_not_repeated() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    for broken in [false, true] {
        let counted = Arc::clone(&counted);
        let (_upstream, front, http) = fake(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\ndata: {\"half\"";
            let mut frames = vec![Ok(event)];
            frames.extend(broken.then(|| Err(std::io::Error::other("gone"))));
            let body = Body::from_stream(futures::stream::iter(frames));
            Response::builder().header("content-type", "text/event-stream").body(body).expect("valid")
        })
        .await;
        let error = http.call("known", json!({})).await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(-32603)), "broken: {broken}");
        let failed = r#"mcp_tool_calls_total{endpoint="test",result="error",tool_name="known"} 1"#;
        eventually("it is counted", || front.metrics_text().contains(failed)).await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_stream_with_event_ids_ends_as_it_does_and_is_the_clients_to_resume() {
    let (_upstream, _front, http) = fake(|_, _| {
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from("id: 1\nretry: 500\ndata:\n\n"))
            .expect("valid")
    })
    .await;
    let reply = http.ask("tools/call", json!({"name": "known", "arguments": {}})).await;
    assert_eq!(reply.text().await, "id: 1\nretry: 500\ndata:\n\n");
}

#[tokio::test]
async fn a_batch_of_2025_03_26_is_taken_apart_and_each_message_checked() {
    let (_backend, _front, http) = chain().await;
    let reply = http.initialize("2025-03-26").await;
    let session = reply.header("mcp-session-id").expect("a session").to_owned();
    let add = |id: u32| {
        let params = json!({"name": "add", "arguments": {"a": id, "b": 1}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}});
    let batch = json!([add(1), cancelled, add(2)]);
    let headers = [("mcp-session-id", session.as_str())];
    let text = http.post(&headers, &batch).await.text().await;
    for (id, sum) in [(1, "2.0"), (2, "3.0")] {
        assert!(text.contains(&format!("\"id\":{id}")) && text.contains(sum), "{text}");
    }
    let mallory = http.clone().caller("mallory");
    assert_eq!(mallory.post(&headers, &batch).await.status, StatusCode::NOT_FOUND);
    let later = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-06-18")];
    assert_eq!(http.post(&later, &batch).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn events_of_one_session_are_not_told_in_another() {
    let (_backend, _front, alice) = chain().await;
    let mallory = alice.clone().caller("mallory");
    let (hers, his) = (alice.session().await, mallory.session().await);
    let reply = alice.call_in(&hers, "progress", json!({"steps": 2, "delayMs": 1})).await;
    let text = reply.text().await;
    let stolen = text.lines().find_map(|line| line.strip_prefix("id:")).map(str::trim).unwrap_or("0");
    // In his own session, with the id of her event: he learns nothing of her call.
    let mut reply = mallory.listen_in(&his, Some(stolen)).await;
    let second = std::time::Duration::from_secs(1);
    while let Ok(Some(event)) = tokio::time::timeout(second, reply.event()).await {
        assert!(!event.0.contains("progress") && !event.0.contains("steps"), "{event:?}");
    }
    assert_eq!(mallory.listen_in(&hers, Some(stolen)).await.status, StatusCode::NOT_FOUND);
}
