//! Sessions of the 2025 revisions, in memory: whose they are, how they end, how many there are.

mod mcp_support;

use http::StatusCode;
use mcp_support::served::Served;
use mcp_support::{Http, Runtime, config, eventually};
use serde_json::json;

#[tokio::test]
async fn a_session_lives_from_initialize_to_delete() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url()).caller("alice");
    let opened = http.initialize("2025-06-18").await;
    let id = opened.header("mcp-session-id").expect("a session").to_owned();
    assert!(id.len() == 43 && id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
    let result = opened.message().await;
    assert_eq!(result["result"]["protocolVersion"], "2025-06-18");
    assert!(result["result"].get("resultType").is_none(), "not of this revision");

    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let accepted = http.post(&[("mcp-session-id", &id)], &initialized).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    assert!(accepted.bytes().await.is_empty());
    let me = http.call_in(&id, "whoami", json!({})).await.message().await;
    assert_eq!(me["result"]["structuredContent"]["subject"], "alice");
    assert_eq!(runtime.endpoint.sessions(), 1);

    assert!(http.end(&id).await.is_success());
    assert_eq!(http.call_in(&id, "whoami", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(http.end(&id).await, StatusCode::NOT_FOUND);
    assert_eq!(runtime.endpoint.sessions(), 0);
}

#[tokio::test]
async fn revisions_that_are_not_served_are_negotiated_down_or_up() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    for (asked, agreed) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2026-07-28", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        assert_eq!(http.initialize(asked).await.message().await["result"]["protocolVersion"], agreed, "{asked}");
    }
    let id = http.session().await;
    let unknown = [("mcp-session-id", id.as_str()), ("mcp-protocol-version", "2099-01-01")];
    let reply = http.post(&unknown, &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json().await["error"]["code"], -32022);
}

#[tokio::test]
async fn a_missing_session_is_400_and_an_unknown_one_404() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let ping = json!({"jsonrpc": "2.0", "id": 3, "method": "ping"});
    let missing = http.post(&[], &ping).await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    assert_eq!(missing.json().await["id"], 3);
    let long = "a".repeat(5000);
    for id in ["x", &"A".repeat(43), &long] {
        assert_eq!(http.post(&[("mcp-session-id", id)], &ping).await.status, StatusCode::NOT_FOUND);
        assert_eq!(http.listen_in(id, None).await.status, StatusCode::NOT_FOUND);
        assert_eq!(http.end(id).await, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn another_principal_finds_no_session_and_can_do_it_no_harm() {
    let runtime = Runtime::start(config()).await;
    let (alice, mallory) = (Http::new(&runtime.url()).caller("alice"), Http::new(&runtime.url()).caller("mallory"));
    let id = alice.session().await;
    for thief in [&mallory, &Http::new(&runtime.url())] {
        assert_eq!(thief.call_in(&id, "whoami", json!({})).await.status, StatusCode::NOT_FOUND);
        assert_eq!(thief.listen_in(&id, None).await.status, StatusCode::NOT_FOUND);
        assert_eq!(thief.listen_in(&id, Some("0")).await.status, StatusCode::NOT_FOUND);
        assert_eq!(thief.end(&id).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(alice.call_in(&id, "whoami", json!({})).await.status, StatusCode::OK);
}

/// rmcp decides the era by rules of its own: a request that we take for one without a session must not get into one.
#[tokio::test]
async fn no_mixture_of_eras_leads_past_the_owner() {
    let runtime = Runtime::start(config()).await;
    let (alice, mallory) = (Http::new(&runtime.url()).caller("alice"), Http::new(&runtime.url()).caller("mallory"));
    let id = alice.session().await;
    for (header, in_body) in
        [("2026-07-28", "2025-11-25"), ("2025-11-25", "2026-07-28"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "x")]
    {
        for method in ["tools/call", "server/discover", "subscriptions/listen", "ping"] {
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {
                "name": "whoami", "arguments": {}, "notifications": {},
                "_meta": {"io.modelcontextprotocol/protocolVersion": in_body},
            }});
            let headers = [("mcp-session-id", id.as_str()), ("mcp-protocol-version", header), ("mcp-method", method)];
            let reply = mallory.post(&headers, &message).await;
            assert!(reply.status.is_client_error(), "{header} {in_body} {method}: {}", reply.status);
        }
    }
}

#[tokio::test]
async fn the_cap_holds_and_a_session_that_ends_makes_room() {
    let mut config = config();
    config.sessions.max = Some(2);
    let runtime = Runtime::start(config).await;
    let http = Http::new(&runtime.url());
    let first = http.session().await;
    http.session().await;
    let refused = http.initialize("2025-11-25").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json().await["id"], 0);
    http.end(&first).await;
    http.session().await;
}

/// A place is taken by a session, not by the attempt, and free again when the session is over, however that came.
async fn check_places_of_principals(runtime: &Runtime) {
    let alice = Http::new(&runtime.url()).caller("alice");
    let first = alice.session().await;
    let wrong = json!({"jsonrpc": "2.0", "id": 5, "method": "initialize", "params": {"protocolVersion": 7}});
    for _ in 0..3 {
        assert!(alice.post(&[], &wrong).await.message().await.get("error").is_some());
    }
    alice.session().await;
    let refused = alice.initialize("2025-11-25").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json().await["id"], 0);
    let refusals = r#"mcp_rate_limit_decisions_total{decision="refused",limit="sessions"} 1"#;
    assert!(runtime.metrics_text().contains(refusals));

    Http::new(&runtime.url()).caller("bob").session().await;
    assert!(alice.end(&first).await.is_success());
    alice.session().await;
    assert_eq!(alice.initialize("2025-11-25").await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_principal_has_so_many_sessions_and_leaves_room_for_others() {
    let mut config = config();
    config.sessions.max_per_principal = Some(2);
    check_places_of_principals(&Runtime::start(config).await).await;
}

#[tokio::test]
async fn a_principal_has_so_many_sessions_at_a_backend() {
    let backend = Runtime::start(config()).await;
    let mut config = mcp_support::proxy(&backend.url());
    config.sessions.max_per_principal = Some(2);
    check_places_of_principals(&Runtime::start(config).await.ready().await).await;
    assert_eq!(backend.endpoint.sessions(), 3, "who is refused costs the backend nothing");
}

#[tokio::test]
async fn a_session_that_ends_by_itself_makes_room_for_its_principal() {
    let mut config = config();
    (config.sessions.max_per_principal, config.sessions.idle_timeout_seconds) = (Some(1), 1);
    let runtime = Runtime::start(config).await;
    let http = Http::new(&runtime.url());
    http.session().await;
    assert_eq!(http.initialize("2025-11-25").await.status, StatusCode::TOO_MANY_REQUESTS);
    eventually("it is idle for too long", || runtime.endpoint.sessions() == 0).await;
    http.session().await;
}

#[tokio::test]
async fn idle_sessions_end_and_one_with_an_open_stream_does_not() {
    let mut config = config();
    config.sessions.idle_timeout_seconds = 1;
    let runtime = Runtime::start(config).await;
    let http = Http::new(&runtime.url());
    let streaming = http.session().await;
    let _stream = http.listen_in(&streaming, None).await;
    for _ in 0..5 {
        http.session().await;
    }
    eventually("idle sessions end", || runtime.endpoint.sessions() == 1).await;
    assert_eq!(http.call_in(&streaming, "add", json!({"a": 1, "b": 1})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_handshake_that_nobody_waits_for_leaves_no_session() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    // Parameters that rmcp cannot read.
    let broken = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 7}});
    let reply = http.post(&[], &broken).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(runtime.endpoint.sessions(), 0);
}

#[tokio::test]
async fn a_client_that_begins_anew_may_still_send_its_old_session() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let old = "A".repeat(43);
    let reply = http.post(&[("mcp-session-id", &old)], &initialize).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_ne!(reply.header("mcp-session-id").expect("a new session"), old);
}

#[tokio::test]
async fn progress_of_a_session_arrives_while_the_call_runs() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let id = http.session().await;
    let mut reply = http.call_in(&id, "progress", json!({"steps": 2, "delayMs": 2_000})).await;
    let priming = reply.event().await.expect("an event");
    assert!(priming.field("retry").is_some() && priming.data().is_none() && priming.field("id").is_some());
    let first = reply.event().await.expect("an event").data().expect("data");
    assert_eq!(first["method"], "notifications/progress");
    assert!(!runtime.metrics_text().contains(r#"tool_name="progress""#), "the call is not over");
    assert_eq!(reply.message().await["result"]["structuredContent"]["steps"], 2);
}

#[tokio::test]
async fn older_clients_get_no_event_without_data() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let opened = http.initialize("2025-06-18").await;
    let id = opened.header("mcp-session-id").expect("a session").to_owned();
    opened.message().await;
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    http.post(&[("mcp-session-id", &id)], &initialized).await;
    let mut reply = http.call_in(&id, "add", json!({"a": 1, "b": 2})).await;
    assert_eq!(reply.event().await.expect("an event").data().expect("data")["id"], 7);
}

/// In these revisions a connection that breaks is no cancellation: the client comes back for the rest.
#[tokio::test]
async fn a_call_goes_on_without_its_connection_and_is_resumed() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let id = http.session().await;
    let mut reply = http.call_in(&id, "progress", json!({"steps": 3, "delayMs": 700})).await;
    reply.event().await.expect("the priming event");
    let first = reply.event().await.expect("the first step");
    let last_seen = first.field("id").expect("an id").to_owned();
    drop(reply);

    let mut rest = http.listen_in(&id, Some(&last_seen)).await;
    let mut steps = Vec::new();
    while let Some(event) = rest.event().await {
        let data = event.data().expect("data");
        match data.get("result") {
            Some(result) => assert_eq!(result["structuredContent"]["steps"], 3),
            None => steps.push(data["params"]["progress"].as_f64().expect("a number")),
        }
    }
    assert_eq!(steps, [2.0, 3.0], "nothing twice, nothing lost");
}

/// R1 and R4 of the reference: an event's id leads nowhere but into the caller's own session.
#[tokio::test]
async fn a_last_event_id_never_replays_another_session() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let (mine, other) = (http.session().await, http.session().await);
    let mut secret = http.call_in(&other, "progress", json!({"steps": 1, "delayMs": 600_000})).await;
    let ids: Vec<_> = [secret.event().await, secret.event().await]
        .map(|event| event.expect("an event").field("id").expect("an id").to_owned())
        .into();
    // A stream of one's own with the same number.
    let mut own = http.call_in(&mine, "progress", json!({"steps": 1, "delayMs": 600_000})).await;
    own.event().await.expect("an event");

    for id in &ids {
        let stolen = http.listen_in(&mine, Some(id)).await;
        assert_eq!(stolen.status, StatusCode::BAD_REQUEST, "{id}");
    }
    // What is no id of ours leads to the session's own stream, and that is silent.
    for id in ["0", "0/0", "garbage", "-1", "x--1"] {
        let mut stream = http.listen_in(&mine, Some(id)).await;
        assert_eq!(stream.status, StatusCode::OK);
        let priming = stream.event().await.expect("an event");
        assert!(priming.data().is_none() && priming.field("id").is_some(), "{id}: {priming:?}");
    }
}

#[tokio::test]
async fn a_session_s_stream_ends_with_a_hint_when_the_process_does() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let id = http.session().await;
    let mut older = http.listen_in(&id, None).await;
    assert!(older.event().await.expect("an event").field("id").is_some());
    let mut newer = http.listen_in(&id, None).await;
    assert!(newer.event().await.expect("an event").field("id").is_some());
    runtime.endpoint.begin_drain();
    for mut stream in [older, newer] {
        assert_eq!(stream.event().await.expect("an event").field("retry"), Some("1000"));
        assert!(stream.event().await.is_none());
    }
    assert_eq!(http.listen_in(&id, None).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(http.initialize("2025-11-25").await.status, StatusCode::SERVICE_UNAVAILABLE);
    // Calls of sessions that are open are served.
    assert_eq!(http.call_in(&id, "add", json!({"a": 1, "b": 2})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_initialize_that_would_be_kept_but_is_huge_is_refused() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "x".repeat(33_000), "version": "0"}});
    let reply = http.post(&[], &json!({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": params})).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reply.json().await["id"], "i");
    assert_eq!(runtime.endpoint.sessions(), 0);
}

#[tokio::test]
async fn a_call_whose_client_lost_its_connection_is_waited_for() {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    let session = http.session().await;
    let mut reply = http.call_in(&session, "progress", json!({"steps": 3, "delayMs": 500})).await;
    while reply.event().await.expect("an event").data().is_none() {}
    drop((reply, http));
    // The server may learn of the loss before or after.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    runtime.endpoint.begin_drain();
    runtime.endpoint.in_flight_done().await;
    let counted = r#"mcp_tool_calls_total{endpoint="test",result="success",tool_name="progress"} 1"#;
    assert!(runtime.metrics_text().contains(counted), "the call was cut");
}

#[tokio::test]
async fn what_sessions_keep_and_how_long_the_end_takes_is_measured() {
    let served = Served::start("").await;
    let measured =
        || ["mcp_active_sessions", "mcp_event_store_streams", "mcp_event_store_bytes"].map(|name| served.metric(name));
    assert_eq!(measured(), [0.0; 3]);
    let http = served.client();
    let session = http.session().await;
    let mut reply = http.call_in(&session, "progress", json!({"steps": 3, "delayMs": 300})).await;
    while reply.event().await.expect("an event").data().is_none() {}
    let [sessions, streams, bytes] = measured();
    assert_eq!((sessions, streams), (1.0, 1.0));
    assert!(bytes > 50.0, "a progress notification is larger than {bytes} bytes");
    reply.message().await;
    assert!(http.end(&session).await.is_success());
    assert_eq!(measured(), [0.0; 3]);

    assert_eq!(served.metric("mcp_drain_seconds"), 0.0);
    served.app.drain.leave();
    assert!(served.metric("mcp_drain_seconds") > 0.0);
}
