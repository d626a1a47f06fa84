//! Bytes on a socket: what no HTTP client would send.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Only what hangs takes that long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Sends, and returns everything that comes until the server closes.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have answered and closed before everything was written.
    let _ = stream.write_all(bytes.as_ref()).await;
    rest(&mut stream).await
}

/// Everything that comes until the server closes.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = async {
        let mut chunk = vec![0; 16 * 1024];
        // A reset keeps what came before.
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status codes of the answers, in order.
pub fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect()
}

/// Reads one answer with a `Content-Length` from a connection that stays open.
pub async fn one(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let reading = async {
        loop {
            let mut chunk = vec![0; 16 * 1024];
            let read = stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&chunk[..read]));
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer");
    text
}

/// A POST to the endpoint, as bytes of HTTP/1.1.
pub async fn written(request: Request<Full<Bytes>>) -> Vec<u8> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let headers: String =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let head =
        format!("{} /mcp HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n", parts.method, body.len());
    [head.as_bytes(), &body].concat()
}

/// Frames of HTTP/2 (RFC 9113 §4.1).
pub mod h2 {
    pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;
    pub const END_HEADERS: u8 = 4;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;

    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()[..]].concat();
        [&head, payload].concat()
    }

    /// POST /mcp at localhost, from the static table (RFC 7541 appendix A) and literals.
    pub fn post() -> Vec<u8> {
        [&[0x83, 0x86, 0x04, 4][..], b"/mcp", &[0x01, 9], b"localhost"].concat()
    }

    /// Preface and empty settings.
    pub fn begin() -> Vec<u8> {
        [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
    }

    /// Kind, stream and payload of each whole frame.
    pub fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        while let [a, b, c, kind, _flags, s1, s2, s3, s4, rest @ ..] = bytes {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if rest.len() < length {
                break;
            }
            frames.push((*kind, u32::from_be_bytes([*s1, *s2, *s3, *s4]), rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        frames
    }
}
