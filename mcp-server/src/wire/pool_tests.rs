//! Connections are used again, and requests are never run twice.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const KEEP: Keep = Keep { connect_timeout: Duration::from_secs(3), idle_timeout: Duration::from_secs(30), idle: 8 };

/// A server that counts connections and requests, and answers each connection's requests with `answer`.
async fn server(answer: &'static str, then_close: bool) -> (Arc<Pool>, Arc<(AtomicUsize, AtomicUsize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counted = Arc::clone(&counts);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.0.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, answer, then_close, Arc::clone(&counted)));
        }
    });
    (Pool::new("127.0.0.1", port, HeaderValue::from_static("near"), KEEP), counts)
}

async fn serve(mut stream: TcpStream, answer: &str, then_close: bool, counts: Arc<(AtomicUsize, AtomicUsize)>) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
        seen.extend_from_slice(&buffer[..read]);
        if !seen.ends_with(b"end") {
            continue;
        }
        seen.clear();
        counts.1.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(answer.as_bytes()).await;
        if then_close {
            return;
        }
    }
}

fn request() -> Request<Full<Bytes>> {
    Request::post("/").body(Full::new(Bytes::from_static(b"the end"))).unwrap()
}

async fn text(response: Response<Reply>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_connection_whose_answer_was_read_is_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let (pool, counts) = server(answer, false).await;
        for _ in 0..5 {
            assert_eq!(text(pool.send(request()).await.unwrap()).await, "ok");
        }
        assert_eq!((counts.0.load(Ordering::SeqCst), counts.1.load(Ordering::SeqCst)), (1, 5));
    }
}

#[tokio::test]
async fn a_body_of_known_length_needs_not_be_asked_for_its_end() {
    let (pool, counts) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false).await;
    for _ in 0..5 {
        let mut body = pool.send(request()).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
    }
    assert_eq!(counts.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_was_dropped_half_way_is_not_used_again() {
    let (pool, counts) = server("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", false).await;
    for _ in 0..3 {
        pool.send(request()).await.unwrap().into_body().frame().await.unwrap().unwrap();
    }
    assert_eq!(counts.0.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn one_that_the_server_has_closed_is_replaced_and_each_request_is_run_once() {
    let (pool, counts) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true).await;
    for _ in 0..20 {
        assert_eq!(text(pool.send(request()).await.unwrap()).await, "ok");
        // The end of the stream is here by the time another request needs a connection.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(counts.1.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn a_request_that_was_read_and_not_answered_is_not_sent_again() {
    let (pool, counts) = server("", true).await;
    assert_eq!(pool.send(request()).await.map(drop), Err(Fault::Broken));
    assert_eq!(counts.1.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nobody_there_is_told_from_a_silent_host() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pool = Pool::new("127.0.0.1", free.port(), HeaderValue::from_static("near"), KEEP);
    assert_eq!(pool.send(request()).await.map(drop), Err(Fault::Refused));
}
