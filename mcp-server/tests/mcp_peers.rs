//! Sessions whose state lives in one replica's container, and requests that land anywhere. Each replica has its own
//! backend, which knows nothing of the others; redis is a real one.

mod mcp_support;

use std::time::Duration;

use http::{Method, StatusCode};
use mcp_server_config::{Config, Peers};
use mcp_support::redis::Redis;
use mcp_support::{Http, Runtime, config, eventually, proxy};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// One pod: the runtime, and the server beside it.
struct Replica {
    front: Runtime,
    backend: Runtime,
    http: Http,
}

async fn replica(redis: &Redis) -> Replica {
    replica_with(redis, |_| {}).await
}

async fn replica_with(redis: &Redis, change: impl FnOnce(&mut Config)) -> Replica {
    let backend = Runtime::start(config()).await;
    let mut config = redis.config(proxy(&backend.url()));
    change(&mut config);
    let front = Runtime::start(config).await.ready().await;
    let http = Http::new(&front.url()).caller("alice");
    Replica { front, backend, http }
}

async fn add(http: &Http, session: &str) -> StatusCode {
    let reply = http.call_in(session, "add", json!({"a": 1, "b": 2})).await;
    let status = reply.status;
    if status.is_success() {
        assert_eq!(reply.message().await["result"]["structuredContent"]["sum"], 3.0);
    }
    status
}

fn calls(replica: &Replica, tool: &str, result: &str) -> bool {
    let line = format!(r#"mcp_tool_calls_total{{endpoint="test",result="{result}",tool_name="{tool}"}} 1"#);
    replica.backend.metrics_text().contains(&line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_of_a_stateful_container_are_found_at_every_replica() {
    let redis = Redis::start().await;
    let replicas = [replica(&redis).await, replica(&redis).await, replica(&redis).await];
    let clients: Vec<Http> = replicas.iter().map(|replica| replica.http.clone()).collect();
    // Ten at a time, each request at the next replica.
    let lives = (0..10).map(|client| {
        let clients = clients.clone();
        tokio::spawn(async move {
            for turn in 0..100 {
                let at = |step: usize| &clients[(client + turn + step) % 3];
                let session = at(0).session().await;
                for step in 1..=3 {
                    assert_eq!(add(at(step), &session).await, StatusCode::OK);
                }
            }
        })
    });
    futures::future::try_join_all(lives).await.expect("no session was lost");
    let held: Vec<usize> = replicas.iter().map(|replica| replica.front.endpoint.sessions()).collect();
    assert_eq!(held.iter().sum::<usize>(), 1000);
    for (replica, held) in replicas.iter().zip(held) {
        assert!(held > 300, "they were opened everywhere");
        assert_eq!(replica.backend.endpoint.sessions(), held, "nothing was taken over");
    }
}

#[tokio::test]
async fn replicas_count_the_sessions_of_a_principal_together() {
    let redis = Redis::start().await;
    let limited = |config: &mut Config| config.sessions.max_per_principal = Some(2);
    let (a, b) = (replica_with(&redis, limited).await, replica_with(&redis, limited).await);
    let session = a.http.session().await;
    b.http.session().await;
    for replica in [&a, &b] {
        assert_eq!(replica.http.initialize("2025-11-25").await.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(replica.backend.endpoint.sessions(), 1, "the backend was not asked");
    }
    assert_eq!(b.http.end(&session).await, StatusCode::NO_CONTENT);
    b.http.session().await;
    assert_eq!(a.http.initialize("2025-11-25").await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn the_stream_of_a_session_and_its_end_go_to_its_holder() {
    let redis = Redis::start().await;
    let (a, b) = (replica(&redis).await, replica(&redis).await);
    let session = a.http.session().await;
    let mut stream = b.http.listen_in(&session, None).await;
    assert_eq!((stream.status, stream.header("x-accel-buffering")), (StatusCode::OK, Some("no")));
    assert!(stream.is_event_stream());

    let mut call = b.http.call_in(&session, "progress", json!({"steps": 2, "delayMs": 1_000})).await;
    let mut progress = 0;
    let result = loop {
        let data = call.event().await.expect("the call goes on").data().unwrap_or_default();
        if data.get("id").is_some() {
            break data;
        }
        progress += usize::from(data["method"] == "notifications/progress");
    };
    assert_eq!((progress, &result["result"]["structuredContent"]["steps"]), (2, &json!(2)));

    assert_eq!(b.http.end(&session).await, StatusCode::NO_CONTENT);
    assert_eq!((a.front.endpoint.sessions(), a.backend.endpoint.sessions()), (0, 0));
    while stream.event().await.is_some() {}
    for replica in [&a, &b] {
        assert_eq!(add(&replica.http, &session).await, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn another_principal_finds_no_session_at_any_replica() {
    let redis = Redis::start().await;
    let (a, b) = (replica(&redis).await, replica(&redis).await);
    let session = a.http.session().await;
    for replica in [&a, &b] {
        let mallory = Http::new(&replica.front.url()).caller("mallory");
        assert_eq!(add(&mallory, &session).await, StatusCode::NOT_FOUND);
        assert_eq!(mallory.listen_in(&session, Some("0")).await.status, StatusCode::NOT_FOUND);
        assert_eq!(mallory.end(&session).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(add(&b.http, &session).await, StatusCode::OK);
}

#[tokio::test]
async fn when_the_holder_is_lost_its_calls_end_with_an_error_and_its_sessions_begin_anew() {
    let redis = Redis::start().await;
    let (Replica { front, backend, http: on_a }, b) = (replica(&redis).await, replica(&redis).await);
    let session = on_a.session().await;
    let mut call = b.http.call_in(&session, "progress", json!({"steps": 9, "delayMs": 300_000})).await;
    while call.event().await.expect("the call runs").data().is_none_or(|data| data["method"].is_null()) {}

    drop(front);
    let error = call.message().await;
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(-32603)), "{error}");
    assert_eq!(add(&b.http, &session).await, StatusCode::NOT_FOUND);
    // It ran once, there.
    assert!(!b.backend.metrics_text().contains(r#"tool_name="progress""#));
    assert_eq!(backend.endpoint.sessions(), 1);
    let session = b.http.session().await;
    assert_eq!(add(&b.http, &session).await, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_leg_to_the_holder() {
    let redis = Redis::start().await;
    let a = replica_with(&redis, |config| config.sessions.idle_timeout_seconds = 1).await;
    let b = replica(&redis).await;
    let session = a.http.session().await;
    let http = Http::new(&b.front.url()).caller("alice");
    let stream = http.listen_in(&session, None).await;
    assert_eq!(stream.status, StatusCode::OK);
    // A session ends a second after its last stream, and not while there is one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(a.front.endpoint.sessions(), 1);
    drop((stream, http));
    eventually("the holder learns of it", || a.front.endpoint.sessions() == 0).await;
}

#[tokio::test]
async fn a_holder_that_drains_still_serves_the_sessions_it_has() {
    let redis = Redis::start().await;
    let (a, b) = (replica(&redis).await, replica(&redis).await);
    let session = a.http.session().await;
    a.front.endpoint.begin_drain();
    assert_eq!(add(&b.http, &session).await, StatusCode::OK);
    assert_eq!(b.http.listen_in(&session, None).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_holder_that_hangs_is_503_and_not_404() {
    let redis = Redis::start().await;
    // The kernel connects, and nobody ever answers.
    let hung = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let advertise = hung.local_addr().ok();
    let a = replica_with(&redis, |config| config.peers = Some(Peers { advertise })).await;
    let b = replica(&redis).await;
    let session = a.http.session().await;
    let id = a.front.state.peers().expect("it forwards").id().to_owned();
    drop(a);
    let _: i64 = redis.ask(&["DEL", &format!("mcp:test-uid:replica:{id}")]).await;
    let reply = b.http.call_in(&session, "add", json!({"a": 1, "b": 2})).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.json().await["id"], 7);
}

#[tokio::test]
async fn redis_knows_the_holder_and_that_it_lives() {
    let redis = Redis::start().await;
    let a = replica(&redis).await;
    let session = a.http.session().await;
    let holder: String = redis.ask(&["HGET", &format!("mcp:test-uid:session:{{{session}}}"), "holder"]).await;
    let (id, address) = holder.split_once('@').expect("a holder");
    let key = format!("mcp:test-uid:replica:{id}");
    let told = async {
        while redis.ask::<String>(&["GET", &key]).await != address {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(mcp_support::PATIENCE, told).await.expect("its sign of life has the address");
    let seconds: i64 = redis.ask(&["TTL", &key]).await;
    assert!((1..=10).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn without_redis_the_holder_goes_on_and_others_say_503() {
    let mut redis = Redis::start().await;
    let (a, b) = (replica(&redis).await, replica(&redis).await);
    let session = a.http.session().await;
    redis.down().await;
    assert_eq!(add(&a.http, &session).await, StatusCode::OK);
    assert_eq!(add(&b.http, &session).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn answers_to_a_servers_own_requests_reach_the_session_they_belong_to() {
    let redis = Redis::start().await;
    let (a, b) = (replica(&redis).await, replica(&redis).await);
    let session = a.http.session().await;
    let answer: Value = json!({"jsonrpc": "2.0", "id": 0, "result": {"roots": []}});
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    assert_eq!(b.http.post(&headers, &answer).await.status, StatusCode::ACCEPTED);
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    let call = a.http.call_in(&session, "progress", json!({"steps": 9, "delayMs": 300_000})).await;
    assert_eq!(b.http.post(&headers, &cancelled).await.status, StatusCode::ACCEPTED);
    tokio::time::timeout(Duration::from_secs(60), call.text()).await.expect("the call ends where it runs");
    eventually("it is counted as failed", || calls(&a, "progress", "error")).await;
}

#[tokio::test]
async fn a_method_that_no_endpoint_has_is_refused_here() {
    let redis = Redis::start().await;
    let (a, b) = (replica(&redis).await, replica(&redis).await);
    let session = a.http.session().await;
    let reply = b.http.send(Method::PUT, &[("mcp-session-id", &session)], "").await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
}
