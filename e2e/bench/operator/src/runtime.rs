//! One process that answers for the runtime of every pod, for every Service, and for DNS. It knows two questions: what a
//! pod says of itself, and what a caller without a token gets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use mcp_server_config::report::{BackendReport, BackendState, LiveReport, ServerReport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::rooms;

/// Where pods say what they are.
pub const MANAGEMENT: u16 = 9090;
/// Where pods serve: nobody asks there, all ask the Service.
pub const MCP: u16 = 8000;
/// Where Services listen.
const SERVICE: u16 = 80;

/// What is answered.
#[derive(Clone, Default)]
pub struct Runtime {
    digests: Arc<Mutex<HashMap<Ipv4Addr, String>>>,
    guarded: bool,
    asked: Arc<AtomicUsize>,
}

impl Runtime {
    /// Listens. Callers without a token are refused where it is `guarded`.
    pub async fn start(guarded: bool) -> Result<Self> {
        let runtime = Self { guarded, ..Self::default() };
        let pods = TcpListener::bind((Ipv4Addr::UNSPECIFIED, MANAGEMENT)).await.context("listen for pods")?;
        let services = TcpListener::bind((Ipv4Addr::UNSPECIFIED, SERVICE)).await.context("listen for Services")?;
        let names = UdpSocket::bind((rooms::DNS, 53)).await.context("listen for DNS")?;
        tokio::spawn(runtime.clone().serve(pods, Self::report));
        tokio::spawn(runtime.clone().serve(services, |runtime, _| runtime.anonymous()));
        tokio::spawn(resolve(names));
        Ok(runtime)
    }

    /// From now on the pod with that address has this configuration.
    pub fn answer_for(&self, pod: Ipv4Addr, digest: &str) {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(pod, digest.to_owned());
    }

    /// Questions since the last time that this was asked.
    pub fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }

    async fn serve(self, listener: TcpListener, answer: fn(&Self, IpAddr) -> String) {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(address) = stream.local_addr() else { continue };
            self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(exchange(stream, answer(&self, address.ip())));
        }
    }

    fn report(&self, pod: IpAddr) -> String {
        let IpAddr::V4(pod) = pod else { return http("404 Not Found", "", "") };
        let digest = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&pod).cloned();
        let report = ServerReport {
            name: "bench".to_owned(),
            version: "1.0.0".to_owned(),
            live: LiveReport { digest: digest.unwrap_or_default(), error: None },
            backend: BackendReport {
                kind: "builtin".to_owned(),
                state: BackendState::Ready,
                protocol_versions: vec!["2026-07-28".to_owned()],
                tools: Some(5),
                tools_digest: Some("0".repeat(64)),
                ..BackendReport::default()
            },
            session_store: "memory".to_owned(),
            ..ServerReport::default()
        };
        http("200 OK", "", &serde_json::to_string(&report).unwrap_or_default())
    }

    fn anonymous(&self) -> String {
        if self.guarded {
            let metadata = "www-authenticate: Bearer resource_metadata=\"https://bench.example.com/\"\r\n";
            return http("401 Unauthorized", metadata, "{}");
        }
        http("200 OK", "", r#"{"jsonrpc":"2.0","id":"verify","result":{"tools":[]}}"#)
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

/// Reads the one request of a connection, however long, and answers it. Who hangs up has asked nothing.
async fn exchange(mut stream: TcpStream, answer: String) {
    let mut request = Vec::new();
    while !is_complete(&request) {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or_default()
}

/// Every name has the Services' address, and no other.
async fn resolve(socket: UdpSocket) {
    const HEAD: usize = 12;
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question).await {
        let question = &question[..length];
        let Some(end) = question.get(HEAD..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) else { continue };
        let Some(asked) = question.get(..HEAD + end + 5) else { continue };
        let is_v4 = asked[HEAD + end + 1..HEAD + end + 3] == [0, 1];
        let mut answer = asked.to_vec();
        answer[2..HEAD].copy_from_slice(&[0x85, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
        if is_v4 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(rooms::SERVICES.octets());
        }
        let _ = socket.send_to(&answer, from).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_with_its_body() {
        assert!(is_complete(b"GET /server HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(!is_complete(b"GET /server HTTP/1.1\r\nhost: a\r\n"));
        assert!(!is_complete(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{"));
        assert!(is_complete(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"));
    }
}
