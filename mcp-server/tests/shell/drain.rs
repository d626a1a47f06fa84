//! The phases of the way out, as clients of the real program see them. The shorter tales are in `lifecycle`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Answer, VERSION, begin, call_request, get, read, request, send};
use crate::process::Runtime;
use crate::raw::{PATIENCE, rest, statuses, written};

const CONFIG: &str = "server: {port: 0}\nmetrics: {port: 0}\nrate_limits: {per_client: {requests: 0}}\n";

fn sleep(ms: u32) -> Request<Full<Bytes>> {
    call_request(Request::post("http://localhost/mcp"), "sleep", &json!({"ms": ms}))
}

/// As HTTP/1.1 has it: a path, and a header for the host.
fn by_http1(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    *request.uri_mut() = "/mcp".parse().unwrap();
    request.headers_mut().insert("host", "localhost".parse().unwrap());
    request
}

async fn http1(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn http2(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn until_in_flight(runtime: &Runtime, count: usize) {
    let line = format!("mcp_http_requests_in_flight {count}\n");
    let waiting = runtime.until(runtime.management, "/metrics", |answer| answer.body.contains(&line));
    tokio::time::timeout(PATIENCE, waiting).await.expect("the calls are under way");
}

fn is_result(answer: &Answer) -> bool {
    answer.status == 200 && answer.body.contains("\"result\"")
}

#[tokio::test]
async fn hundreds_of_calls_under_way_are_all_answered() {
    let mut runtime = Runtime::start(CONFIG).await;
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let mut sender = http1(runtime.mcp).await;
        calls.spawn(async move { read(sender.send_request(by_http1(sleep(4000))).await.unwrap()).await });
    }
    for _ in 0..4 {
        let sender = http2(runtime.mcp).await;
        for _ in 0..50 {
            let mut sender = sender.clone();
            calls.spawn(async move { read(sender.send_request(sleep(4000)).await.unwrap()).await });
        }
    }
    until_in_flight(&runtime, 400).await;
    runtime.signal(Signal::TERM);
    let answers = calls.join_all().await;
    assert_eq!(answers.iter().filter(|answer| is_result(answer)).count(), 400);
    assert_eq!(runtime.ended().await.code(), Some(0));
}

/// The hard case: a client may send its next request in the very moment in which its connection is given up.
#[tokio::test]
async fn no_request_is_lost_on_a_connection_that_is_kept_alive() {
    let mut runtime = Runtime::start(CONFIG).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (address, answered) = (runtime.mcp, Arc::clone(&answered));
        callers.spawn(async move {
            let mut sender = http1(address).await;
            // Closed by the server's word, which a client must heed before it sends again.
            while sender.ready().await.is_ok() {
                let answer = read(sender.send_request(by_http1(sleep(1))).await.expect("an answer")).await;
                assert!(is_result(&answer), "{answer:?}");
                answered.fetch_add(1, Ordering::Relaxed);
                if answer.header("connection") == Some("close") {
                    return true;
                }
            }
            false
        });
    }
    for _ in 0..4 {
        let (address, answered) = (runtime.mcp, Arc::clone(&answered));
        callers.spawn(async move {
            let mut sender = http2(address).await;
            while sender.ready().await.is_ok() {
                match sender.send_request(sleep(1)).await {
                    Ok(response) => {
                        assert!(is_result(&read(response).await));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    // GOAWAY says that this one was not looked at: it can be sent again elsewhere.
                    Err(problem) => {
                        assert!(
                            problem.is_canceled() || problem.is_closed() || !problem.is_incomplete_message(),
                            "{problem:?}"
                        );
                        return true;
                    }
                }
            }
            true
        });
    }
    while answered.load(Ordering::Relaxed) < 500 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    runtime.signal(Signal::TERM);
    let told = callers.join_all().await;
    assert!(told.iter().all(|told| *told), "every client was told");
    assert_eq!(runtime.ended().await.code(), Some(0));
}

/// What the kernel has accepted is served, though nobody in the process had looked at it.
#[tokio::test]
async fn a_connection_that_waits_to_be_accepted_is_served() {
    let config = CONFIG.replace("server: {port: 0}", "server: {port: 0, max_connections: 1}");
    let mut runtime = Runtime::start(&config).await;
    let mut first = http1(runtime.mcp).await;
    let call = tokio::spawn(async move { read(first.send_request(by_http1(sleep(3000))).await.unwrap()).await });
    until_in_flight(&runtime, 1).await;
    let mut waiting = TcpStream::connect(runtime.mcp).await.unwrap();
    waiting.write_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    runtime.signal(Signal::TERM);
    let answer = rest(&mut waiting).await;
    assert_eq!(statuses(&answer), ["404"]);
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(is_result(&call.await.unwrap()));
    assert_eq!(runtime.ended().await.code(), Some(0));
}

#[tokio::test]
async fn listens_and_legacy_streams_get_their_ends_while_calls_go_on() {
    let mut runtime = Runtime::start(CONFIG).await;
    let body = json!({
        "jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen",
        "params": {"notifications": {"toolsListChanged": true}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {},
        }},
    });
    let listen = request("POST", runtime.mcp, "/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", VERSION)
        .header("mcp-method", "subscriptions/listen")
        .body(Full::from(body.to_string()))
        .unwrap();
    let mut listening = begin(listen).await;
    let acknowledged = listening.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&acknowledged).contains("notifications/subscriptions/acknowledged"));

    let session = session(runtime.mcp).await;
    let stream = request("GET", runtime.mcp, "/mcp")
        .header("accept", "text/event-stream")
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", "2025-11-25")
        .body(Full::default())
        .unwrap();
    let legacy = begin(stream).await;
    assert_eq!(legacy.status(), StatusCode::OK);

    let mut sender = http1(runtime.mcp).await;
    let call = tokio::spawn(async move { read(sender.send_request(by_http1(sleep(4000))).await.unwrap()).await });
    until_in_flight(&runtime, 3).await;
    runtime.signal(Signal::TERM);

    let listening = read(listening).await.body;
    let data = listening.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let completed: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&completed["id"], &completed["result"]["resultType"]), (&json!(7), &json!("complete")));
    let legacy = read(legacy).await.body;
    assert!(legacy.lines().any(|line| line.starts_with("retry:")), "{legacy:?}");
    assert!(!call.is_finished(), "the call had more time");
    assert!(is_result(&call.await.unwrap()));
    assert_eq!(runtime.ended().await.code(), Some(0));
}

/// On a connection that is there already, behind a call that is under way.
#[tokio::test]
async fn a_new_session_is_refused_and_sent_elsewhere() {
    let mut runtime = Runtime::start(CONFIG).await;
    let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
    let progress =
        call_request(request("POST", runtime.mcp, "/mcp"), "progress", &json!({"steps": 40, "delayMs": 100}));
    stream.write_all(&written(progress).await).await.unwrap();
    // Its head has gone out: that it is the last one it could not say.
    until_in_flight(&runtime, 1).await;
    let mut head = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.unwrap();
    runtime.signal(Signal::TERM);
    runtime.line("no new connections and sessions; waiting for the calls under way").await;
    let again = initialize(request("POST", runtime.mcp, "/mcp"));
    stream.write_all(&written(again).await).await.unwrap();
    let answer = rest(&mut stream).await;
    let (first, second) = answer.split_once("HTTP/1.1 503").unwrap_or_else(|| panic!("{answer}"));
    assert!(first.contains("\"result\""), "{first}");
    let second = second.to_ascii_lowercase();
    assert!(second.contains("retry-after:") && second.contains("connection: close"), "{second}");
    assert_eq!(runtime.ended().await.code(), Some(0));
}

#[tokio::test]
async fn who_waits_is_told_for_what() {
    let mut runtime = Runtime::start(CONFIG).await;
    let mut sender = http1(runtime.mcp).await;
    let call = tokio::spawn(async move { read(sender.send_request(by_http1(sleep(8000))).await.unwrap()).await });
    until_in_flight(&runtime, 1).await;
    runtime.signal(Signal::TERM);
    let told = runtime.line_where(|line| line["message"] == "waiting for the calls under way").await;
    assert_eq!((&told["connections"], &told["requests"]), (&json!(1), &json!(1)), "{told}");
    assert!(is_result(&call.await.unwrap()));
    assert_eq!(runtime.ended().await.code(), Some(0));
}

#[tokio::test]
async fn without_connections_nobody_waits() {
    let mut runtime = Runtime::start(&format!("{CONFIG}drain: {{timeout_seconds: 86400}}\n")).await;
    assert_eq!(get(runtime.management, "/livez").await.status, 200);
    runtime.signal(Signal::TERM);
    assert_eq!(runtime.ended().await.code(), Some(0));
}

fn initialize(builder: http::request::Builder) -> Request<Full<Bytes>> {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    builder
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(Full::from(message.to_string()))
        .unwrap()
}

async fn session(address: SocketAddr) -> String {
    let opened = send(initialize(request("POST", address, "/mcp"))).await;
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let initialized = request("POST", address, "/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", "2025-11-25")
        .body(Full::from(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string()))
        .unwrap();
    assert_eq!(send(initialized).await.status, 202);
    session
}
