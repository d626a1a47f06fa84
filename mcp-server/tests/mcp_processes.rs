//! Replicas that are processes of their own, with a real redis: they are killed, they hang, their clocks differ.

#![allow(clippy::unwrap_used)]

#[path = "shell/client.rs"]
#[allow(dead_code, reason = "of another test program")]
mod client;
mod mcp_support;
#[path = "shell/process.rs"]
#[allow(dead_code, reason = "of another test program")]
mod process;

use http::StatusCode;
use mcp_support::redis::Redis;
use mcp_support::{Http, Reply, config};
use process::{PORTS, Runtime};
use rustix::process::Signal;
use serde_json::{Value, json};

/// In front of the built-in tools, or of that server.
fn replica_config(redis: &Redis, backend: Option<&str>) -> String {
    let backend = backend.map_or(String::new(), |url| format!("backend: {{container: {{url: '{url}'}}}}\n"));
    format!(
        "{PORTS}auth: {{anonymous: allow}}\nkeys: {{dir: {}}}\n\
         redis: {{url: '{}', socket_timeout: 2, key_prefix: 'mcp:test'}}\n\
         rate_limits: {{per_client: {{requests: 0}}}}\n{backend}",
        redis.dir.path().join("keys").display(),
        redis.url()
    )
}

async fn start(redis: &Redis, backend: Option<&str>) -> (Runtime, Http) {
    let runtime = Runtime::start(&replica_config(redis, backend)).await;
    runtime.until_ready().await;
    let http = Http::new(&format!("http://{}/mcp", runtime.mcp));
    (runtime, http)
}

/// Numbers of the events, and the messages in them, until there are so many messages or the stream ends.
async fn read(reply: &mut Reply, messages: usize) -> (Vec<String>, Vec<Value>) {
    let (mut ids, mut read) = (Vec::new(), Vec::new());
    while read.len() < messages {
        let Some(event) = reply.event().await else { break };
        ids.extend(event.field("id").map(str::to_owned));
        read.extend(event.data());
    }
    (ids, read)
}

fn steps(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|message| message["params"]["progress"].as_f64()).map(|step| step as u64).collect()
}

#[tokio::test]
async fn what_a_killed_process_has_sent_is_replayed_once_and_its_call_is_not_run_again() {
    let redis = Redis::start().await;
    let ((mut a, on_a), (b, on_b)) = (start(&redis, None).await, start(&redis, None).await);
    let session = on_a.session().await;
    let mut call = on_a.call_in(&session, "progress", json!({"steps": 50, "delayMs": 60_000})).await;
    let (mut ids, first) = read(&mut call, 1).await;
    assert_eq!(steps(&first), [1]);
    a.signal(Signal::KILL);
    a.ended().await;
    // What was on its way comes, and no more.
    let (more, rest) = read(&mut call, usize::MAX).await;
    ids.extend(more);
    assert!(rest.is_empty(), "{rest:?}");

    // From the beginning of the stream: the client has lost what it had.
    let beginning = &ids[0];
    let mut again = on_b.listen_in(&session, Some(beginning)).await;
    assert_eq!(again.status, StatusCode::OK);
    let (_, messages) = read(&mut again, usize::MAX).await;
    assert_eq!(steps(&messages), [1], "each once");
    let last = messages.last().expect("an end");
    assert_eq!((&last["id"], &last["error"]["code"]), (&json!(7), &json!(-32603)), "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("was not run again"), "{last}");
    assert_eq!(messages.len(), 2);
    // Whoever has seen all of it gets nothing twice.
    let mut seen = on_b.listen_in(&session, ids.last().map(String::as_str)).await;
    let (_, messages) = read(&mut seen, usize::MAX).await;
    assert_eq!((steps(&messages).len(), messages.len()), (0, 1), "the end only: {messages:?}");

    let metrics = client::get(b.management, "/metrics").await.body;
    assert!(!metrics.contains(r#"tool_name="progress""#), "it ran nowhere else");
    // The session goes on.
    let sum = on_b.call_in(&session, "add", json!({"a": 1, "b": 2})).await.message().await;
    assert_eq!(sum["result"]["structuredContent"]["sum"], 3.0);
}

#[tokio::test]
async fn a_holder_that_hangs_in_the_middle_of_an_answer_is_told_as_an_error() {
    let redis = Redis::start().await;
    let backend = mcp_support::Runtime::start(config()).await;
    let ((a, on_a), (_b, on_b)) =
        (start(&redis, Some(&backend.url())).await, start(&redis, Some(&backend.url())).await);
    let session = on_a.session().await;
    let mut call = on_b.call_in(&session, "progress", json!({"steps": 50, "delayMs": 60_000})).await;
    let mut stream = on_b.listen_in(&session, None).await;
    stream.event().await.expect("it is open");
    let (_, first) = read(&mut call, 1).await;
    assert_eq!(steps(&first), [1]);
    // Its connections stay open, and nothing comes any more.
    a.signal(Signal::STOP);
    let (_, rest) = read(&mut call, usize::MAX).await;
    let last = rest.last().expect("no silence");
    assert_eq!((&last["id"], &last["error"]["code"]), (&json!(7), &json!(-32603)), "{last}");
    // The stream of the session ends, so that the client asks again.
    while stream.event().await.is_some() {}
    a.signal(Signal::KILL);
}

#[tokio::test]
async fn sessions_end_by_no_replica_s_clock() {
    let redis = Redis::start().await;
    let ((_a, on_a), future) =
        (start(&redis, None).await, Runtime::start_at("+30h", &replica_config(&redis, None)).await);
    future.until_ready().await;
    let on_future = Http::new(&format!("http://{}/mcp", future.mcp));
    let date = client::get(future.mcp, "/health").await;
    let told = jiff::Timestamp::from_second(0).map(|_| date.json()["timestamp"].as_str().unwrap().to_owned()).unwrap();
    let ahead = told.parse::<jiff::Timestamp>().unwrap().duration_since(jiff::Timestamp::now());
    assert!(ahead.as_hours() >= 29, "its clock is another: {told}");

    let add = async |http: &Http, session: &str| http.call_in(session, "add", json!({"a": 1, "b": 2})).await.status;
    // Opened here, used there, and the other way round, again and again: nobody makes it look old.
    for (opens, uses) in [(&on_a, &on_future), (&on_future, &on_a)] {
        let session = opens.session().await;
        for _ in 0..2 {
            assert_eq!(add(uses, &session).await, StatusCode::OK);
            assert_eq!(add(opens, &session).await, StatusCode::OK);
        }
        let seconds: i64 = redis.ask(&["TTL", &format!("mcp:test:session:{{{session}}}")]).await;
        assert!((1790..=1800).contains(&seconds), "{seconds}");
        let created: i64 = redis.ask(&["HGET", &format!("mcp:test:session:{{{session}}}"), "created"]).await;
        assert!((jiff::Timestamp::now().as_second() - created).abs() < 60, "by redis' clock");
    }
}
