//! How the process ends.

use http_body_util::{BodyExt as _, Full};
use rustix::process::Signal;
use serde_json::json;

use crate::client::{begin, call, call_request, get, read, request};
use crate::process::{PORTS, Runtime};

#[tokio::test]
async fn a_call_under_way_is_answered_before_the_process_ends() {
    let mut runtime = Runtime::start(&format!("{PORTS}drain: {{timeout_seconds: 60}}\n")).await;
    let address = runtime.mcp;
    // Progress comes first, so that the test knows when the call is under way.
    let long = call_request(request("POST", address, "/mcp"), "progress", &json!({"steps": 20, "delayMs": 100}));
    let mut response = begin(long).await;
    let first = response.frame().await.unwrap().unwrap();
    assert!(!first.data_ref().unwrap().is_empty());

    runtime.signal(Signal::TERM);
    let not_ready = runtime.until(runtime.management, "/readyz", |answer| answer.status == 503).await;
    assert!(not_ready.body.contains("ending"), "{not_ready:?}");
    assert_eq!(get(runtime.management, "/livez").await.status, 200);
    assert_eq!(get(runtime.management, "/server").await.json()["draining"], true);

    let answer = read(response).await;
    assert!(answer.body.contains("\"result\""), "{answer:?}");
    assert_eq!(runtime.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_grace_serves_on_while_readiness_is_gone() {
    let mut runtime = Runtime::start(&format!("{PORTS}drain: {{grace_seconds: 3}}\n")).await;
    runtime.signal(Signal::TERM);
    runtime.until(runtime.management, "/readyz", |answer| answer.status == 503).await;
    let answer = call(runtime.mcp, "echo", json!({"text": "still here"})).await;
    assert_eq!(answer.status, 200, "load balancers have not noticed yet");
    assert_eq!(runtime.ended().await.code(), Some(0));
}

#[tokio::test]
async fn calls_that_outlast_the_drain_are_told_that_they_are_cut() {
    let mut runtime = Runtime::start(&format!("{PORTS}drain: {{timeout_seconds: 1}}\n")).await;
    let long = call_request(request("POST", runtime.mcp, "/mcp"), "progress", &json!({"steps": 50, "delayMs": 1000}));
    let mut response = begin(long).await;
    response.frame().await.unwrap().unwrap();

    runtime.signal(Signal::INT);
    let answer = read(response).await;
    assert!(answer.body.contains("\"error\"") && !answer.body.contains("\"result\""), "{answer:?}");
    assert_eq!(runtime.ended().await.code(), Some(0));
    runtime.line("calls did not end in time; they are cancelled").await;
}

#[tokio::test]
async fn a_second_signal_cuts() {
    let mut runtime = Runtime::start(&format!("{PORTS}drain: {{grace_seconds: 3000, timeout_seconds: 3000}}\n")).await;
    runtime.signal(Signal::TERM);
    runtime.line("stopping: not ready from now on").await;
    runtime.signal(Signal::TERM);
    assert_eq!(runtime.ended().await.code(), Some(1));
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_process() {
    let mut runtime = Runtime::start(PORTS).await;
    let (mut sender, connection) = {
        let stream = tokio::net::TcpStream::connect(runtime.mcp).await.unwrap();
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap()
    };
    tokio::spawn(connection);
    let health =
        http::Request::get("/health").header("host", "localhost").body(Full::<bytes::Bytes>::default()).unwrap();
    sender.send_request(health).await.unwrap().into_body().collect().await.unwrap();

    runtime.signal(Signal::TERM);
    assert_eq!(runtime.ended().await.code(), Some(0));
}

/// As a name that is being looked up, or a network file system that hangs. Without a limit the test would not end.
#[tokio::test]
async fn a_thread_that_is_stuck_does_not_hold_the_process() {
    let mut runtime = Runtime::start_with(PORTS, Some("formatVersion: 1\n"), &[]).await;
    let live = runtime.path("live.yaml");
    std::fs::remove_file(&live).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &live, 0o600.into()).unwrap();
    // Opens when the runtime reads, and gives it nothing.
    let _writer = tokio::fs::OpenOptions::new().write(true).open(live).await.unwrap();

    runtime.signal(Signal::TERM);
    assert_eq!(runtime.ended().await.code(), Some(0));
}
