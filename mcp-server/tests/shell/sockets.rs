//! What only real connections show.

use http::Version;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mcp_server::serve::Server;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::client::{begin, call, call_request, read, request};
use crate::process::{PORTS, Runtime};

#[tokio::test]
async fn http2_is_served_with_prior_knowledge() {
    let runtime = Runtime::start(PORTS).await;
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let echo = call_request(request("POST", runtime.mcp, "/mcp"), "echo", &json!({"text": "hello"}));
    let response = client.request(echo).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert!(read(response).await.body.contains("hello"));
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "hello"})).await.status, 200, "HTTP/1.1 at the same port");
}

#[tokio::test]
async fn the_first_event_arrives_before_the_call_ends() {
    use http_body_util::BodyExt as _;
    let runtime = Runtime::start(PORTS).await;
    // A minute: the test would not wait for it.
    let long = call_request(request("POST", runtime.mcp, "/mcp"), "progress", &json!({"steps": 60, "delayMs": 1000}));
    let mut response = begin(long).await;
    assert_eq!(response.status(), 200);
    assert!(response.frame().await.unwrap().is_ok());
}

/// A client that does not finish its headers, or says nothing at all, is hung up on. The clock is the test's own.
#[tokio::test(start_paused = true)]
async fn slow_headers_end_the_connection() {
    let server = Server::bind(crate::layers::start(PORTS).await).await.unwrap();
    let address = server.mcp_address().unwrap();
    let (_sender, signals) = mpsc::channel(1);
    tokio::spawn(server.run(signals));

    for head in ["", "P", "PRI * HTTP/2.0\r\n", "POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Slow: "] {
        let begun = tokio::time::Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // Ended, or reset because of unread bytes.
        let _ = stream.read_to_end(&mut rest).await;
        // Without the limit the test would not end. The clock runs ahead of the sockets, so it tells no more.
        assert!(begun.elapsed() >= std::time::Duration::from_secs(10), "{head:?}");
    }
}

/// The kernel's own table says so: timer 2 of an idle connection is its keepalive.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn idle_connections_are_kept_alive_by_the_kernel() {
    let runtime = Runtime::start(PORTS).await;
    let stream = TcpStream::connect(runtime.mcp).await.unwrap();
    let ends = [runtime.mcp.port(), stream.local_addr().unwrap().port()].map(|port| format!(":{port:04X}"));
    // The runtime accepts when it gets to it.
    loop {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
        let mut served = rows.filter(|row| row[1].ends_with(&ends[0]) && row[2].ends_with(&ends[1]));
        if served.any(|row| row[5].starts_with("02:")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn too_large_headers_are_refused() {
    let runtime = Runtime::start(PORTS).await;
    let mut stream = TcpStream::connect(runtime.mcp).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: ").await.unwrap();
    let _ = stream.write_all(&vec![b'a'; 128 * 1024]).await;
    let _ = stream.write_all(b"\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "hello"})).await.status, 200, "others are served");
}
