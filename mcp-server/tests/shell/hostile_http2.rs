//! Clients that break HTTP/2, frame by frame, against the real program.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{call, get};
use crate::process::Runtime;
use crate::raw::PATIENCE;
use crate::raw::h2::{
    CANCEL, CONTINUATION, END_HEADERS, GOAWAY, HEADERS, REFUSED_STREAM, RST_STREAM, begin, frame, frames, post,
};

const SHORT: &str =
    "server: {port: 0, idle_timeout_seconds: 1}\nmetrics: {port: 0}\nrate_limits: {per_client: {requests: 0}}\n";

/// Sends, and returns every frame that comes until the server closes, and whether it broke the connection off.
async fn sent(runtime: &Runtime, bytes: Vec<u8>) -> (Vec<(u8, u32, Vec<u8>)>, bool) {
    let (mut reader, mut writer) = TcpStream::connect(runtime.mcp).await.unwrap().into_split();
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&bytes).await;
        writer
    });
    let mut answer = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    let reading = async {
        loop {
            match reader.read(&mut chunk).await {
                Ok(0) => return false,
                Ok(read) => answer.extend_from_slice(&chunk[..read]),
                Err(_) => return true,
            }
        }
    };
    let reset = tokio::time::timeout(PATIENCE, reading).await.expect("the server closes");
    drop(writing.await.unwrap());
    (frames(&answer), reset)
}

async fn serves_and_holds_nothing(runtime: &Runtime) {
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "hello"})).await.status, 200);
    let none = |text: &str| text.contains("mcp_http_requests_in_flight 0");
    let waiting = runtime.until(runtime.management, "/metrics", |answer| none(&answer.body));
    tokio::time::timeout(PATIENCE, waiting).await.expect("nothing is under way");
    assert_eq!(get(runtime.management, "/livez").await.status, 200);
}

/// CVE-2023-44487.
#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_ends_the_connection() {
    let runtime = Runtime::start(SHORT).await;
    let mut bytes = begin();
    for stream in (1..40_000).step_by(2) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &post()));
        bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    let (answer, _) = sent(&runtime, bytes).await;
    let goaway = answer.iter().find(|(kind, ..)| *kind == GOAWAY);
    // ENHANCE_YOUR_CALM. The reset of the socket may overtake it.
    assert!(goaway.is_none_or(|(_, _, payload)| payload[4..8] == 11_u32.to_be_bytes()), "{goaway:?}");
    assert!(answer.len() < 20_000, "it was not ended");
    serves_and_holds_nothing(&runtime).await;
}

/// CVE-2024-27316: headers that never end.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let runtime = Runtime::start(SHORT).await;
    let mut bytes = begin();
    bytes.extend(frame(HEADERS, 0, 1, &post()));
    // A literal header of 16 KB in each: 64 MB of headers for one request.
    let large = [&[0x00, 1, b'x', 0x7f, 0x81, 0x7f][..], &vec![b'a'; 16_384 - 6]].concat();
    for _ in 0..4000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &large));
    }
    let before = runtime.resident_kib();
    sent(&runtime, bytes).await;
    assert!(runtime.resident_kib() < before + 16 * 1024, "the headers were kept");
    serves_and_holds_nothing(&runtime).await;
}

#[tokio::test]
async fn more_requests_at_once_than_a_connection_may_have_are_refused() {
    let runtime = Runtime::start(SHORT).await;
    let mut bytes = begin();
    // Their bodies do not come.
    let streams: Vec<u32> = (1..1000).step_by(2).collect();
    for stream in &streams {
        bytes.extend(frame(HEADERS, END_HEADERS, *stream, &post()));
    }
    let (mut reader, mut writer) = TcpStream::connect(runtime.mcp).await.unwrap().into_split();
    writer.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    let refused = loop {
        let mut chunk = vec![0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, reader.read(&mut chunk)).await.expect("refusals").unwrap();
        assert!(read > 0, "closed");
        answer.extend_from_slice(&chunk[..read]);
        let refused = frames(&answer)
            .iter()
            .filter(|(kind, _, payload)| *kind == RST_STREAM && payload[..] == REFUSED_STREAM.to_be_bytes())
            .count();
        if refused > 0 {
            break refused;
        }
    };
    assert!(refused <= streams.len() - 256, "{refused}");
    drop((reader, writer));
    serves_and_holds_nothing(&runtime).await;
}

#[tokio::test]
async fn broken_frames_end_the_connection() {
    let runtime = Runtime::start(SHORT).await;
    for broken in [
        // A frame larger than may be, settings for a stream, data of a stream that is none, a continuation of nothing.
        [&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1][..], &[0; 100]].concat(),
        frame(4, 0, 1, &[0; 6]),
        frame(0, 0, 1, b"data"),
        frame(CONTINUATION, END_HEADERS, 1, &post()),
        // Indices that no table has.
        frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0x7f]),
        // An even stream, which only a server may open.
        frame(HEADERS, END_HEADERS, 2, &post()),
    ] {
        let (answer, reset) = sent(&runtime, [begin(), broken.clone()].concat()).await;
        // The reset of a socket with unread bytes may overtake what was said before.
        assert!(reset || answer.iter().any(|(kind, ..)| *kind == GOAWAY), "{broken:?}: {answer:?}");
    }
    serves_and_holds_nothing(&runtime).await;
}
