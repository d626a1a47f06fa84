//! A server of a program's own inside the shell: what it asks its client, what it says by itself, what it remembers, and
//! what becomes of it when things go wrong. With a real redis where replicas share.

#![expect(deprecated, reason = "the 2025 revisions have logging, which SEP-2577 deprecates")]

mod mcp_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::StatusCode;
use mcp_server::mcp::Handler;
use mcp_support::redis::Redis;
use mcp_support::{Http, Runtime, config, eventually};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientResult, ContentBlock, ElicitRequest,
    ElicitRequestParams, ErrorCode, ErrorData, InputRequiredResult, ListToolsResult, LoggingLevel,
    LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};

/// Speaks by itself, asks, remembers, and panics when told to.
#[derive(Clone, Default)]
struct Talkative {
    calls: Arc<AtomicU32>,
}

impl ServerHandler for Talkative {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_logging().build(),
        )
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = || json!({"type": "object"}).as_object().expect("an object").clone();
        let region = json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
        let region = region.as_object().expect("an object").clone();
        Ok(ListToolsResult::with_all_items(vec![
            Tool::new("ask", "Asks", schema()),
            Tool::new("routed", "Is routed by an argument", region),
        ]))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let text = match &*call.name {
            "ask" => {
                let question = json!({"mode": "form", "message": "Who?",
                    "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}});
                let question: ElicitRequestParams = serde_json::from_value(question).expect("a question");
                let answer = context.peer.send_request(ElicitRequest::new(question).into()).await;
                match answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))? {
                    ClientResult::ElicitResult(answer) => {
                        answer.content.map(|content| content.to_string()).unwrap_or_default()
                    }
                    other => return Err(ErrorData::internal_error(format!("{other:?}"), None)),
                }
            }
            "log" => {
                let line = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!("a line"));
                let _ = context.peer.notify_logging_message(line).await;
                "logged".to_owned()
            }
            "later" => {
                let peer = context.peer.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let _ = peer.notify_tool_list_changed().await;
                });
                "begun".to_owned()
            }
            "count" => {
                let token = context.meta.get_progress_token().expect("a token");
                for step in 1..=30 {
                    let report = ProgressNotificationParam::new(token.clone(), f64::from(step));
                    let _ = context.peer.notify_progress(report).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                "counted".to_owned()
            }
            "twice" => match call.request_state {
                None => return Ok(InputRequiredResult::from_request_state("half a secret").into()),
                Some(state) => state,
            },
            "needy" => {
                let needed = json!({"requiredCapabilities": {"sampling": {}}});
                let code = ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY;
                return Err(ErrorData::new(code, "It needs sampling.", Some(needed)));
            }
            "panic" => panic!("as told"),
            _ => format!("{}", self.calls.load(Ordering::SeqCst)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }

    fn get_tool(&self, _name: &str) -> Option<Tool> {
        None
    }
}

async fn talkative() -> (Runtime, Http) {
    let runtime = Runtime::hosting(config(), Handler::new(Talkative::default())).await.ready().await;
    let http = Http::new(&runtime.url()).caller("alice");
    (runtime, http)
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{message}"))
}

#[tokio::test]
async fn a_server_asks_its_client_within_the_call_and_hears_the_answer() {
    let (_runtime, http) = talkative().await;
    let session = http.session().await;
    let mut reply = http.call_in(&session, "ask", json!({})).await;
    let question = loop {
        match reply.event().await.expect("a question").data() {
            Some(question) => break question,
            None => continue,
        }
    };
    assert_eq!(question["method"], "elicitation/create");
    let answer =
        |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": "Ada"}}});
    let within = [("mcp-session-id", session.as_str())];
    // Answers to what was never asked lead nowhere.
    for id in [json!(0), json!("0"), json!("x:1:0"), json!("000000000000:1:0")] {
        assert_eq!(http.post(&within, &answer(&id)).await.status, StatusCode::ACCEPTED);
    }
    // Nor does somebody else's.
    let mallory = Http::new(&_runtime.url()).caller("mallory");
    assert_eq!(mallory.post(&within, &answer(&question["id"])).await.status, StatusCode::NOT_FOUND);
    assert_eq!(http.post(&within, &answer(&question["id"])).await.status, StatusCode::ACCEPTED);
    assert_eq!(text(&reply.message().await), r#"{"name":"Ada"}"#);
}

#[tokio::test]
async fn what_a_call_logs_comes_with_it_and_what_comes_later_on_the_session_s_stream() {
    let (_runtime, http) = talkative().await;
    let session = http.session().await;
    let mut reply = http.call_in(&session, "log", json!({})).await;
    let first = loop {
        // A slow call begins with an event without data.
        if let Some(data) = reply.event().await.expect("an event").data() {
            break data;
        }
    };
    assert_eq!(first["method"], "notifications/message");
    assert_eq!(text(&reply.message().await), "logged");

    let mut stream = http.listen_in(&session, None).await;
    stream.event().await.expect("the priming event");
    assert_eq!(text(&http.call_in(&session, "later", json!({})).await.message().await), "begun");
    let changed = stream.event().await.expect("an event").data().expect("data");
    assert_eq!(changed["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn a_handler_that_panics_fails_one_call_in_both_eras() {
    let (_runtime, http) = talkative().await;
    let session = http.session().await;
    for _ in 0..2 {
        let legacy = http.call_in(&session, "panic", json!({})).await.message().await;
        let modern = http.call("panic", json!({})).await;
        for answer in [legacy, modern] {
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32603), &json!(7)), "{answer}");
            assert!(!answer.to_string().contains("as told"));
        }
    }
    assert!(http.call("any", json!({})).await["result"].is_object());
}

#[tokio::test]
async fn a_capability_that_the_client_has_not_declared_is_a_bad_request_of_its_own_kind() {
    let (_runtime, http) = talkative().await;
    let refused = http.ask("tools/call", json!({"name": "needy", "arguments": {}})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let refused = refused.json().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(7), &json!(-32021)), "{refused}");
    assert_eq!(refused["error"]["data"]["requiredCapabilities"], json!({"sampling": {}}));
}

#[tokio::test]
async fn a_request_state_comes_back_only_to_its_caller_and_its_call() {
    let (runtime, alice) = talkative().await;
    let bob = Http::new(&runtime.url()).caller("bob");
    let first = alice.call("twice", json!({"a": 1})).await;
    let state = first["result"]["requestState"].as_str().expect("a state").to_owned();
    assert!(!state.contains("secret"));
    let again = |tool: &str, arguments: Value, state: &str| json!({"name": tool, "arguments": arguments, "requestState": state, "inputResponses": {}});
    let right = alice.ask("tools/call", again("twice", json!({"a": 1}), &state)).await.message().await;
    assert_eq!(text(&right), "half a secret");
    let other = if state.as_bytes()[20] == b'A' { 'B' } else { 'A' };
    let tampered = format!("{}{other}{}", &state[..20], &state[21..]);
    for (http, params) in [
        (&bob, again("twice", json!({"a": 1}), &state)),
        (&alice, again("twice", json!({"a": 2}), &state)),
        (&alice, again("other", json!({"a": 1}), &state)),
        (&alice, again("twice", json!({"a": 1}), &tampered)),
        (&alice, again("twice", json!({"a": 1}), "half a secret")),
    ] {
        let refused = http.ask("tools/call", params).await.message().await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
}

#[tokio::test]
async fn arguments_that_a_header_repeats_must_be_the_same() {
    let (_runtime, http) = talkative().await;
    let (headers, message) =
        mcp_support::modern("tools/call", json!({"name": "routed", "arguments": {"region": "eu"}}));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for (region, status) in [(Some("eu"), 200), (Some("us"), 400), (None, 400)] {
        let mut headers = headers.clone();
        headers.extend(region.map(|region| ("mcp-param-region", region)));
        let reply = http.post(&headers, &message).await;
        assert_eq!(reply.status.as_u16(), status, "{region:?}");
    }
}

#[tokio::test]
async fn a_call_that_its_client_cancels_is_not_answered() {
    let (_runtime, http) = talkative().await;
    let session = http.session().await;
    let mut reply = http.call_in(&session, "count", json!({})).await;
    while reply.event().await.expect("an event").data().is_none() {}
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    assert_eq!(http.post(&[("mcp-session-id", &session)], &cancel).await.status, StatusCode::ACCEPTED);
    while let Some(event) = reply.event().await {
        assert!(event.data().is_none_or(|data| data.get("id").is_none()), "{event:?}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_message_by_message() {
    let (_runtime, http) = talkative().await;
    let opened = http.initialize("2025-03-26").await;
    let session = opened.header("mcp-session-id").expect("a session").to_owned();
    assert_eq!(opened.message().await["result"]["protocolVersion"], "2025-03-26");
    let within = [("mcp-session-id", session.as_str())];
    let batch = json!([
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "a", "method": "ping"},
        {"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": {"name": "log", "arguments": {}}},
        {"jsonrpc": "2.0", "id": "c", "method": "no/such"},
    ]);
    let mut reply = http.post(&within, &batch).await;
    assert_eq!(reply.status, StatusCode::OK);
    let mut answers = std::collections::BTreeMap::new();
    while let Some(event) = reply.event().await {
        let Some(data) = event.data() else { continue };
        if let Some(id) = data["id"].as_str() {
            answers.insert(id.to_owned(), data.clone());
        }
    }
    assert_eq!(answers["a"]["result"], json!({}));
    assert_eq!(text(&answers["b"]), "logged");
    assert_eq!(answers["c"]["error"]["code"], -32601);
    let notes = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    assert_eq!(http.post(&within, &notes).await.status, StatusCode::ACCEPTED);
    let other = Http::new(&_runtime.url()).caller("mallory");
    assert_eq!(other.post(&within, &batch).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_stream_that_broke_off_is_continued_at_another_replica_while_the_call_runs() {
    let redis = Redis::start().await;
    let replica = || async { Runtime::hosting(redis.config(config()), Handler::new(Counting)).await };
    let (a, b) = (replica().await, replica().await);
    let (on_a, on_b) = (Http::new(&a.url()).caller("alice"), Http::new(&b.url()).caller("alice"));
    let session = on_a.session().await;
    let mut reply = on_a.call_in(&session, "count", json!({"steps": 20})).await;
    let mut seen = Vec::new();
    let mut last = String::new();
    while seen.len() < 3 {
        let event = reply.event().await.expect("an event");
        last = event.field("id").expect("an id").to_owned();
        seen.extend(event.data().map(|data| data["params"]["progress"].as_f64().expect("a number")));
    }
    drop(reply);
    let mut rest = on_b.listen_in(&session, Some(&last)).await;
    assert_eq!(rest.status, StatusCode::OK);
    let mut result = None;
    while let Some(event) = rest.event().await {
        let data = event.data().expect("data");
        match data.get("result") {
            Some(_) => result = Some(data),
            None => seen.push(data["params"]["progress"].as_f64().expect("a number")),
        }
    }
    assert_eq!(seen, (1..=20).map(f64::from).collect::<Vec<_>>(), "nothing twice, nothing lost");
    assert_eq!(result.expect("the result")["id"], 7);
    // To somebody else it is not there.
    let mallory = Http::new(&b.url()).caller("mallory");
    assert_eq!(mallory.listen_in(&session, Some(&last)).await.status, StatusCode::NOT_FOUND);
    let other = on_b.session().await;
    assert_eq!(on_b.listen_in(&other, Some(&last)).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_call_of_a_lost_replica_ends_with_an_error_and_is_not_run_again() {
    let redis = Redis::start().await;
    let b = Runtime::hosting(redis.config(config()), Handler::new(Counting)).await;
    let on_b = Http::new(&b.url()).caller("alice");
    // A process of its own, as far as a test can have one.
    let process = tokio::runtime::Runtime::new().expect("threads");
    let config_of_a = redis.config(config());
    let started = process.spawn(async move { Runtime::hosting(config_of_a, Handler::new(Counting)).await });
    let a = started.await.expect("started");
    let on_a = Http::new(&a.url()).caller("alice");
    let session = on_a.session().await;
    let mut reply = on_a.call_in(&session, "count", json!({"steps": 1_000_000})).await;
    let mut last = String::new();
    for _ in 0..3 {
        last = reply.event().await.expect("an event").field("id").expect("an id").to_owned();
    }
    // As when it is killed: its connections break, and its sign of life, which would be there for some seconds, is gone.
    let sign = format!("mcp:test-uid:replica:{}", a.state.replica().id());
    process.shutdown_background();
    drop(a);
    let _: i64 = redis.ask(&["DEL", &sign]).await;
    let mut rest = on_b.listen_in(&session, Some(&last)).await;
    let mut ended = None;
    while let Some(event) = rest.event().await {
        ended = event.data().filter(|data| data.get("id").is_some()).or(ended);
    }
    let ended = ended.expect("an answer");
    assert_eq!((&ended["id"], &ended["error"]["code"]), (&json!(7), &json!(-32603)), "{ended}");
    assert!(ended["error"]["message"].as_str().expect("text").contains("was not run again"));
    // Whoever comes once more hears the same once.
    let mut again = on_b.listen_in(&session, Some(&last)).await;
    let mut answers = 0;
    while let Some(event) = again.event().await {
        answers += usize::from(event.data().is_some_and(|data| data.get("error").is_some()));
    }
    assert_eq!(answers, 1);
    assert_eq!(on_b.call_in(&session, "count", json!({"steps": 1})).await.status, StatusCode::OK);
}

/// Only answers, so that any replica serves its sessions.
#[derive(Clone)]
struct Counting;

impl ServerHandler for Counting {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(Vec::new()))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let steps = call.arguments.and_then(|arguments| arguments["steps"].as_u64()).expect("steps");
        let token = context.meta.get_progress_token().expect("a token");
        for step in 1..=steps {
            let report = ProgressNotificationParam::new(token.clone(), step as f64);
            let _ = context.peer.notify_progress(report).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(CallToolResult::success(vec![ContentBlock::text("counted")]).into())
    }
}

#[tokio::test]
async fn sessions_move_over_three_replicas_without_affinity_and_none_is_lost() {
    let redis = Redis::start().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Runtime::start(redis.config(config())).await);
    }
    let clients: Vec<_> = replicas.iter().map(|replica| Http::new(&replica.url()).caller("alice")).collect();
    // Not all at once: what is shown is that none is lost, not how fast two cores are.
    let opened = stream::iter(0..1000).map(|number| clients[number % 3].session()).buffered(50);
    let opened: Vec<String> = opened.collect().await;
    for step in 1..3 {
        let calls = stream::iter(opened.iter().enumerate()).map(|(number, session)| {
            let http = &clients[(number + step) % 3];
            async move { http.call_in(session, "add", json!({"a": 1, "b": 2})).await.message().await }
        });
        let answers: Vec<Value> = calls.buffered(50).collect().await;
        let sums = answers.iter().filter(|answer| answer["result"]["structuredContent"]["sum"] == 3.0);
        assert_eq!(sums.count(), 1000, "{:?}", answers.iter().find(|answer| answer.get("error").is_some()));
    }
    eventually("all are known", || replicas.iter().map(|replica| replica.endpoint.sessions()).sum::<usize>() >= 1000)
        .await;
}

#[tokio::test]
async fn an_answer_finds_the_handler_that_has_asked_whichever_replica_it_comes_to() {
    let redis = Redis::start().await;
    let replica = || async { Runtime::hosting(redis.config(config()), Handler::new(Talkative::default())).await };
    let (a, b) = (replica().await, replica().await);
    let (on_a, on_b) = (Http::new(&a.url()).caller("alice"), Http::new(&b.url()).caller("alice"));
    let session = on_a.session().await;
    // The handler may speak by itself, so that the session stays where it was opened: a call that comes elsewhere goes there.
    let mut reply = on_b.call_in(&session, "ask", json!({})).await;
    let question = loop {
        if let Some(question) = reply.event().await.expect("a question").data() {
            break question;
        }
    };
    assert_eq!((a.endpoint.sessions(), b.endpoint.sessions()), (1, 0));
    let answer = json!({"jsonrpc": "2.0", "id": question["id"],
        "result": {"action": "accept", "content": {"name": "Ada"}}});
    assert_eq!(on_b.post(&[("mcp-session-id", &session)], &answer).await.status, StatusCode::ACCEPTED);
    assert_eq!(text(&reply.message().await), r#"{"name":"Ada"}"#);

    let mut stream = on_b.listen_in(&session, None).await;
    stream.event().await.expect("the priming event");
    on_a.call_in(&session, "later", json!({})).await.message().await;
    let changed = stream.event().await.expect("an event").data().expect("data");
    assert_eq!(changed["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn a_handler_that_only_answers_may_ask_too_and_hears_of_it_from_every_replica() {
    let redis = Redis::start().await;
    let replica = || async { Runtime::hosting(redis.config(config()), Handler::new(Asking)).await };
    let (a, b) = (replica().await, replica().await);
    let (on_a, on_b) = (Http::new(&a.url()).caller("alice"), Http::new(&b.url()).caller("alice"));
    let session = on_a.session().await;
    let mut reply = on_a.call_in(&session, "ask", json!({})).await;
    let question = loop {
        if let Some(question) = reply.event().await.expect("a question").data() {
            break question;
        }
    };
    // Any replica serves this session, but only one waits for the answer.
    assert_eq!(text(&on_b.call_in(&session, "any", json!({})).await.message().await), "0");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"],
        "result": {"action": "accept", "content": {"name": "Ada"}}});
    assert_eq!(on_b.post(&[("mcp-session-id", &session)], &answer).await.status, StatusCode::ACCEPTED);
    assert_eq!(text(&reply.message().await), r#"{"name":"Ada"}"#);
}

#[tokio::test]
async fn a_call_is_cancelled_from_whichever_replica_the_word_comes_to() {
    let redis = Redis::start().await;
    let replica = || async { Runtime::hosting(redis.config(config()), Handler::new(Counting)).await };
    let (a, b) = (replica().await, replica().await);
    let (on_a, on_b) = (Http::new(&a.url()).caller("alice"), Http::new(&b.url()).caller("alice"));
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    // Of one revision streams begin with an event, of the other with nothing; and the word may come right after the call.
    for (version, pause) in [("2025-11-25", 300), ("2025-06-18", 300), ("2025-11-25", 0)] {
        let opened = on_a.initialize(version).await;
        let session = opened.header("mcp-session-id").expect("a session").to_owned();
        let within = [("mcp-session-id", session.as_str())];
        let running = {
            let (http, session) = (on_a.clone(), session.clone());
            tokio::spawn(async move { http.call_in(&session, "count", json!({"steps": 1_000_000})).await })
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        eventually("the call runs", || a.metrics_text().contains("mcp_tool_calls_in_flight 1")).await;
        let mallory = Http::new(&b.url()).caller("mallory");
        assert_eq!(mallory.post(&within, &cancel).await.status, StatusCode::NOT_FOUND);
        assert_eq!(on_b.post(&within, &cancel).await.status, StatusCode::ACCEPTED);
        let mut reply = running.await.expect("no panic");
        while let Some(event) = reply.event().await {
            assert!(event.data().is_none_or(|data| data.get("id").is_none()), "{event:?}");
        }
        eventually("the handler has ended", || a.metrics_text().contains("mcp_tool_calls_in_flight 0")).await;
        let key = format!("mcp:test-uid:events:{{{session}}}");
        while !redis.ask::<Vec<String>>(&["HKEYS", &key]).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn keys_are_changed_without_a_restart_and_what_is_under_way_still_opens() {
    let redis = Redis::start().await;
    let replica = || async { Runtime::hosting(redis.config(config()), Handler::new(Talkative::default())).await };
    let a = replica().await;
    let on_a = Http::new(&a.url()).caller("alice");
    let state_of = |first: Value| first["result"]["requestState"].as_str().expect("a state").to_owned();
    let again = |state: &str| json!({"name": "twice", "arguments": {}, "requestState": state, "inputResponses": {}});
    let before = state_of(on_a.call("twice", json!({})).await);
    let session = on_a.session().await;

    for key in ["request-state", "peer"] {
        std::fs::write(redis.dir.path().join("keys").join(key), [43; 32]).expect("written");
    }
    // It has never known the keys of before.
    let b = replica().await;
    let on_b = Http::new(&b.url()).caller("alice");
    let refused = on_b.ask("tools/call", again(&before)).await.message().await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let learned = async {
        loop {
            let state = state_of(on_a.call("twice", json!({})).await);
            let opened = on_b.ask("tools/call", again(&state)).await.message().await;
            // The session is at the other replica, to which this one seals.
            let forwarded = on_b.call_in(&session, "any", json!({})).await.status;
            if opened.get("result").is_some() && forwarded == StatusCode::OK {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(mcp_support::PATIENCE, learned).await.expect("the first replica reads its keys again");
    let opened = on_a.ask("tools/call", again(&before)).await.message().await;
    assert_eq!(text(&opened), "half a secret");
}

/// As [`Talkative`], without the capabilities to speak by itself.
#[derive(Clone)]
struct Asking;

impl ServerHandler for Asking {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match &*call.name {
            "ask" => Talkative::default().call_tool(call, context).await,
            _ => Ok(CallToolResult::success(vec![ContentBlock::text("0")]).into()),
        }
    }
}
