//! What has to hold behind any reverse proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use rustix::process::Signal;
use serde_json::json;

use crate::client::{Answer, get, read, request, send};
use crate::proxy::Kind;
use crate::stage::{CLIENT, Stage, URL};
use crate::tls_client::exchange;

pub async fn events_arrive_one_by_one(kind: Kind) {
    let stage = Stage::set(kind).await;
    for protocol in ["h2", "http/1.1"] {
        let stream = stage.client(protocol).connect(stage.proxy.https).await.unwrap();
        // Half a minute: a proxy that buffers would send it all at once, with the result.
        let long = stage.call("progress", &json!({"steps": 60, "delayMs": 500}));
        let mut response = exchange(stream, long).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{protocol}");
        for _ in 0..3 {
            let frame = response.frame().await.unwrap().unwrap();
            let event = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            assert!(event.contains("notifications/progress") && !event.contains("\"result\""), "{protocol}: {event}");
        }
    }
}

pub async fn a_session_goes_on_at_either_server(kind: Kind) {
    let stage = Stage::set(kind).await;
    let session = stage.session().await;
    for sum in 0..20 {
        let params = json!({"name": "add", "arguments": {"a": sum, "b": 0}});
        let call = json!({"jsonrpc": "2.0", "id": sum, "method": "tools/call", "params": params});
        let answer = stage.legacy(Some(&session), call).await;
        assert!(answer.status == 200 && answer.body.contains(&format!("{{\"sum\":{sum}.0}}")), "{sum}: {answer:?}");
    }
    for server in &stage.servers {
        let metrics = get(server.management, "/metrics").await.body;
        let added = metrics.lines().find(|line| {
            line.starts_with("mcp_tool_calls_total") && line.contains("\"success\"") && line.contains("\"add\"")
        });
        assert!(added.is_some(), "one server had nothing to do: {metrics}");
    }
}

pub async fn health_checks_are_not_logged(kind: Kind) {
    let stage = Stage::set(kind).await;
    for _ in 0..3 {
        assert_eq!(stage.get("/health").await.status, 200);
    }
    assert_eq!(stage.get("/mcp").await.status, 401);
    while !stage.proxy.log().contains("/mcp") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!stage.proxy.log().contains("/health"), "{}", stage.proxy.log());
}

pub async fn security_headers_are_there_exactly_once(kind: Kind) {
    let mut stage = Stage::set(kind).await;
    let check = |path: &str, answer: &Answer| {
        for (name, value) in [
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            let values: Vec<_> = answer.headers.get_all(name).iter().collect();
            assert_eq!(values, [value], "{name} of {path}: {answer:?}");
        }
    };
    for (path, status) in
        [("/mcp", 401), ("/mcp/", 401), ("/health", 200), ("/.well-known/oauth-protected-resource/mcp", 200)]
    {
        let answer = stage.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        check(path, &answer);
    }
    check("a call", &stage.send(stage.call("echo", &json!({"text": "a"}))).await);
    // Of the proxy itself.
    let nothing = stage.get("/nothing").await;
    check("/nothing", &nothing);
    for server in &mut stage.servers {
        server.signal(Signal::KILL);
        server.ended().await;
    }
    let answer = stage.get("/mcp").await;
    assert!(answer.status.is_server_error(), "{answer:?}");
    check("without servers", &answer);
}

pub async fn plain_http_is_redirected(kind: Kind) {
    let stage = Stage::set(kind).await;
    let plain = request("GET", stage.proxy.http, "/mcp?a=b").header("host", "mcp.example.com");
    let answer = send(plain.body(Full::default()).unwrap()).await;
    assert_eq!(answer.status, 301);
    assert_eq!(answer.header("location"), Some("https://mcp.example.com/mcp?a=b"));
}

pub async fn the_challenge_leads_to_the_authorization_server(kind: Kind) {
    let stage = Stage::set(kind).await;
    let answer = stage.get("/mcp").await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate").unwrap().to_owned();
    let document = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
    assert!(challenge.contains(&format!("resource_metadata=\"{document}\"")), "{challenge}");
    let metadata = stage.get("/.well-known/oauth-protected-resource/mcp").await.json();
    assert_eq!(metadata["resource"], URL);
    assert_eq!(metadata["authorization_servers"], json!([stage.issuer.url()]));
    // The token passes too.
    assert_eq!(stage.send(stage.call("echo", &json!({"text": "a"}))).await.status, 200);
}

pub async fn the_client_is_known_and_cannot_forge_its_address(kind: Kind) {
    let mut stage = Stage::set(kind).await;
    let forged = |uri: String| {
        Request::get(uri)
            .header("x-forwarded-for", "203.0.113.7")
            .header("x-real-ip", "203.0.113.7")
            .header("x-forwarded-proto", "http")
            .body(Full::default())
            .unwrap()
    };
    // Once for either server.
    for path in ["/mcp/", "/mcp/"] {
        assert_eq!(stage.send(forged(format!("https://mcp.example.com{path}"))).await.status, 401);
    }
    for server in &mut stage.servers {
        let line = server.line_where(|line| line["message"] == "request" && line["path"] == "/mcp/").await;
        assert_eq!(line["client"], CLIENT.to_string(), "{line}");
    }

    // Past the proxy nobody is believed: not the address, and not that it came by TLS.
    let address = stage.servers[0].mcp;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((CLIENT, 0).into()).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut past = forged("/nothing".to_owned());
    past.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
    past.headers_mut().insert("host", "mcp.example.com".parse().unwrap());
    let answer = read(sender.send_request(past).await.unwrap()).await;
    assert_eq!(answer.header("strict-transport-security"), None);
    let line = stage.servers[0].line_where(|line| line["path"] == "/nothing").await;
    assert_eq!(line["client"], CLIENT.to_string());
}

/// Clients that keep calling while a server ends: what it has begun it ends, and the rest goes to the other one. Caddy 2.6
/// answers 502 where it was refused the connection, and 503 while it takes no server for healthy: nothing was carried out, so
/// such a call is made again.
pub async fn a_server_that_ends_loses_no_call(kind: Kind) {
    let mut stage = Stage::set(kind).await;
    let mut leaving = stage.servers.remove(0);
    let (stage, over) = (Arc::new(stage), Arc::new(AtomicBool::new(false)));
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (stage, over, answered) = (Arc::clone(&stage), Arc::clone(&over), Arc::clone(&answered));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = stage.send(stage.call("sleep", &json!({"ms": 50}))).await;
                    if kind == Kind::Caddy && (answer.status == 502 || answer.status == 503) && answer.body.is_empty() {
                        continue;
                    }
                    let ok = answer.status == 200 && answer.body.contains("\"result\"");
                    assert!(ok, "{answer:?}: {}", stage.proxy.errors());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let until = async |count: usize| {
        while answered.load(Ordering::Relaxed) < count && callers.iter().all(|caller| !caller.is_finished()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    until(40).await;
    leaving.signal(Signal::TERM);
    assert_eq!(leaving.ended().await.code(), Some(0));
    until(answered.load(Ordering::Relaxed) + 40).await;
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
}
