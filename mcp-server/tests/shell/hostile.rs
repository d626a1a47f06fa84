//! Clients that break HTTP/1.1, by carelessness or on purpose, against the real program.

use std::time::Duration;

use mcp_server::serve::Server;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::client::{call, call_request, get, request};
use crate::process::{PORTS, Runtime};
use crate::raw::{PATIENCE, one, raw, rest, statuses, written};

/// Connections close after a second, so that nobody has to wait.
const SHORT: &str =
    "server: {port: 0, idle_timeout_seconds: 1}\nmetrics: {port: 0}\nrate_limits: {per_client: {requests: 0}}\n";

async fn start() -> Runtime {
    Runtime::start(SHORT).await
}

/// Others are served, whatever one client does.
async fn still_serves(runtime: &Runtime) {
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "hello"})).await.status, 200);
}

async fn answered(bytes: impl AsRef<[u8]>) -> String {
    let runtime = start().await;
    let answer = raw(runtime.mcp, bytes).await;
    still_serves(&runtime).await;
    answer
}

/// A gauge of the metrics comes to that value.
async fn until_gauge(runtime: &Runtime, name: &str, value: f64) {
    let reached = |text: &str| {
        text.lines()
            .any(|line| line.starts_with(name) && line.rsplit(' ').next().is_some_and(|last| last.parse() == Ok(value)))
    };
    let waiting = runtime.until(runtime.management, "/metrics", |answer| reached(&answer.body));
    tokio::time::timeout(PATIENCE, waiting).await.expect(name);
}

#[tokio::test]
async fn a_client_that_sends_a_byte_a_second_is_hung_up_on() {
    let runtime = start().await;
    let (mut reader, mut writer) = TcpStream::connect(runtime.mcp).await.unwrap().into_split();
    let dripping = tokio::spawn(async move {
        for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'a')) {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let ended = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "it is still heard");
    dripping.abort();
    still_serves(&runtime).await;
}

/// The clock is the test's own: nobody waits for the half minute that a body may take.
#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_slowly_is_refused() {
    let server = Server::bind(crate::layers::start(PORTS).await).await.unwrap();
    let address = server.mcp_address().unwrap();
    let (_sender, signals) = mpsc::channel(1);
    tokio::spawn(server.run(signals));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Accept: application/json, text/event-stream\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// The answer comes before the body is read. It must arrive although more comes than anybody wants.
#[tokio::test]
async fn a_refusal_arrives_while_the_body_is_still_being_sent() {
    let runtime = start().await;
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let large = 5 * 1024 * 1024;
    for (path, status) in [("/mcp", "413"), ("/nothing", "404")] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
            stream.write_all(head(path, large).as_bytes()).await.unwrap();
            stream.write_all(&vec![b' '; large]).await.expect("the server does not hang up");
            assert_eq!(statuses(&one(&mut stream).await), [status], "{path}");
        }
    }
    // Who asks first is told, and need not send it.
    let asks = head("/mcp", large).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(statuses(&raw(runtime.mcp, asks).await), ["413"]);
    // Who sends for ever is hung up on.
    let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
    stream.write_all(head("/mcp", usize::MAX / 2).as_bytes()).await.unwrap();
    let sending = async { while stream.write_all(&[b' '; 64 * 1024]).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, sending).await.expect("it is still heard");
    still_serves(&runtime).await;
}

#[tokio::test]
async fn ten_thousand_header_lines_are_refused() {
    let lines: String = (0..10_000).map(|line| format!("X-{line}: a\r\n")).collect();
    let answer = answered(format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")).await;
    assert!(answer.is_empty() || statuses(&answer) == ["431"], "{answer}");
    let lines: String = (0..200).map(|line| format!("X-{line}: a\r\n")).collect();
    let answer = answered(format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")).await;
    assert_eq!(statuses(&answer), ["431"]);
}

#[tokio::test]
async fn a_header_line_without_end_is_refused() {
    let endless = [b"GET /health HTTP/1.1\r\nX-Endless: ".to_vec(), vec![b'a'; 1024 * 1024]].concat();
    let answer = answered(endless).await;
    assert!(answer.is_empty() || statuses(&answer) == ["431"], "{answer}");
}

#[tokio::test]
async fn two_lengths_of_one_body_are_refused() {
    for (first, second) in [("5", "6"), ("5, 6", ""), ("+5", ""), ("-1", ""), ("99999999999999999999999", "")] {
        let second = if second.is_empty() { String::new() } else { format!("Content-Length: {second}\r\n") };
        let request = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {first}\r\n{second}\r\nhello!");
        assert_eq!(statuses(&answered(request).await), ["400"], "{first:?} {second:?}");
    }
}

/// Where a proxy counts by one and we by the other, the rest would be another request ("smuggling").
#[tokio::test]
async fn a_length_beside_chunks_does_not_count_and_nothing_after_it_is_served() {
    let request = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n\
                   0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = answered(request).await;
    assert!(matches!(statuses(&answer)[..], ["400" | "406" | "415"]), "{answer}");
    for coding in ["chunked, identity", "gzip", "xchunked", "chunked\r\nTransfer-Encoding: identity"] {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\n\r\n\
             0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        assert_eq!(statuses(&answered(request).await), ["400"], "{coding}");
    }
}

#[tokio::test]
async fn folded_headers_and_control_characters_are_refused() {
    for header in
        ["X-Folded: a\r\n b", "X-Nul: a\0b", "X-Control: a\x01b", "X Space: a", "X-Space : a", "No colon", ": a"]
    {
        let request = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
        assert_eq!(statuses(&answered(request).await), ["400"], "{header:?}");
    }
}

/// RFC 9112 §2.2 allows a single LF as the end of a line. It is taken as such, and as nothing else.
#[tokio::test]
async fn a_bare_line_feed_ends_a_line_and_a_bare_carriage_return_is_refused() {
    let answer = answered("GET /nothing HTTP/1.1\nHost: localhost\nConnection: close\n\n").await;
    assert_eq!(statuses(&answer), ["404"]);
    let answer = answered("GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Bare: a\rX-Other: b\r\n\r\n").await;
    assert_eq!(statuses(&answer), ["400"]);
}

#[tokio::test]
async fn no_other_host_is_reached_by_target_or_header() {
    let runtime = start().await;
    for head in [
        "GET http://evil.example.com/mcp HTTP/1.1\r\nHost: localhost",
        "GET http://evil.example.com/mcp HTTP/1.1\r\nHost: evil.example.com",
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.com",
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
        "GET /mcp HTTP/1.1\r\nHost: evil.example.com",
        "GET /mcp HTTP/1.1",
        // A page that has rebound its own name to our address (DNS rebinding), and one that has not.
        "POST /mcp HTTP/1.1\r\nHost: evil.example.com:8000\r\nOrigin: http://evil.example.com:8000",
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example.com",
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: null",
    ] {
        let answer = raw(runtime.mcp, format!("{head}\r\n\r\n")).await;
        assert_eq!(statuses(&answer), ["403"], "{head}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    }
    for head in
        ["CONNECT evil.example.com:443 HTTP/1.1\r\nHost: evil.example.com:443", "GET * HTTP/1.1\r\nHost: localhost"]
    {
        let answer = raw(runtime.mcp, format!("{head}\r\n\r\n")).await;
        assert!(matches!(statuses(&answer)[..], ["400" | "403" | "404" | "405"]), "{head}: {answer}");
    }
    still_serves(&runtime).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let answer = answered(
        "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n\
         PUT /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    assert_eq!(statuses(&answer), ["404", "200", "405"], "nothing after the last");
}

#[tokio::test]
async fn what_is_no_http_at_all_is_hung_up_on() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        let answer = answered(bytes).await;
        assert!(answer.is_empty() || statuses(&answer) == ["400"], "{bytes:?}: {answer}");
    }
}

/// Who has closed its own half is gone as far as HTTP tells: the call ends, and nothing is left of it.
#[tokio::test]
async fn a_half_closed_client_leaves_nothing_behind() {
    let runtime = start().await;
    let call = call_request(request("POST", runtime.mcp, "/mcp"), "sleep", &json!({"ms": 600_000}));
    let call = written(call).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
        stream.write_all(&call).await.unwrap();
        streams.push(stream);
    }
    until_gauge(&runtime, "mcp_http_requests_in_flight", 50.0).await;
    for stream in &mut streams {
        stream.shutdown().await.unwrap();
    }
    until_gauge(&runtime, "mcp_http_requests_in_flight", 0.0).await;
    for stream in &mut streams {
        rest(stream).await;
    }
    until_gauge(&runtime, "mcp_active_connections", 0.0).await;
}

#[tokio::test]
async fn a_thousand_idle_connections_are_closed() {
    let runtime = start().await;
    let mut streams = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    for mut stream in streams {
        assert_eq!(statuses(&rest(&mut stream).await), ["200"]);
    }
    until_gauge(&runtime, "mcp_active_connections", 0.0).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let runtime = Runtime::start("server: {port: 0, max_connections: 16}\nmetrics: {port: 0, path: /metrics}\n").await;
    let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
        stream.write_all(health).await.unwrap();
        one(&mut stream).await;
        held.push(stream);
    }
    let mut flood = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
        stream.write_all(health).await.unwrap();
        flood.push(stream);
    }
    let early = tokio::time::timeout(Duration::from_millis(500), flood[0].read(&mut [0; 1])).await;
    assert!(early.is_err(), "there was no room: {early:?}");
    assert_eq!(get(runtime.management, "/livez").await.status, 200, "probes have a listener of their own");
    drop(held);
    for stream in flood {
        let mut stream = stream;
        assert!(one(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
}

/// Half of them makes the pools and buffers; the other half must add nothing.
#[tokio::test]
async fn a_hundred_thousand_refused_requests_and_connections_leave_no_memory_behind() {
    let live = "formatVersion: 1\nrate_limits: {per_client: {requests: 0}}\n";
    let config = "server: {port: 0, idle_timeout_seconds: 1}\nmetrics: {port: 0}\n";
    let mut runtime = Runtime::start_with(config, Some(live), &[]).await;
    // A line for each would be the test's own memory.
    runtime.write("live.yaml", &format!("{live}log_level: ERROR\n"));
    runtime
        .until(runtime.management, "/server", |answer| !answer.body.contains(&mcp_server_config::digest(live)))
        .await;

    let refused = "GET /mcp HTTP/1.1\r\nHost: evil.example.com\r\n\r\n".repeat(100);
    let mut resident = Vec::new();
    for _ in 0..2 {
        let floods: Vec<_> = (0..16)
            .map(|_| {
                let (address, refused) = (runtime.mcp, refused.clone());
                tokio::spawn(async move {
                    // 16 × 30 × 100 requests, and 16 × 130 connections.
                    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
                    let reading = tokio::spawn(async move {
                        let mut count = 0;
                        let (mut chunk, mut tail) = (vec![0; 64 * 1024], Vec::new());
                        while let Ok(read @ 1..) = reader.read(&mut chunk).await {
                            tail.extend_from_slice(&chunk[..read]);
                            count += tail.windows(12).filter(|window| window == b"HTTP/1.1 403").count();
                            let keep = tail.len().min(11);
                            tail.drain(..tail.len() - keep);
                        }
                        count
                    });
                    for _ in 0..30 {
                        writer.write_all(refused.as_bytes()).await.unwrap();
                    }
                    for _ in 0..130 {
                        assert_eq!(statuses(&raw(address, "GET /\0 HTTP/1.1\r\n\r\n").await), ["400"]);
                    }
                    reading.await.unwrap()
                })
            })
            .collect();
        for flood in floods {
            assert_eq!(flood.await.unwrap(), 3000);
        }
        until_gauge(&runtime, "mcp_active_connections", 0.0).await;
        resident.push(runtime.resident_kib());
    }
    assert!(resident[1] < resident[0] + 4 * 1024, "{resident:?} KiB");
    still_serves(&runtime).await;
    runtime.signal(rustix::process::Signal::TERM);
    assert_eq!(runtime.ended().await.code(), Some(0));
}
