//! The layer stack, without sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use mcp_server::app::{self, App};
use mcp_server::http::Peer;
use mcp_server::settings::{Loaded, LoadedLive};
use mcp_server_config::{check_together, parse_boot};
use serde_json::json;
use tower::ServiceExt as _;

use crate::client::{Answer, call_request};

/// The router for a configuration that is written as in a file.
pub async fn router(config: &str) -> Router {
    app::router(&start(config).await)
}

pub async fn start(config: &str) -> Arc<App> {
    let config = parse_boot(config).unwrap();
    let live = config.live();
    check_together(&config, &live, false).unwrap();
    let live = LoadedLive { live, digest: String::new() };
    App::start(Loaded { config, live, warnings: Vec::new() }).await.unwrap()
}

/// Sends a request as if from that address.
pub async fn ask(router: &Router, peer: &str, request: Request<Full<bytes::Bytes>>) -> Answer {
    let mut request = request.map(Body::new);
    let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
    request.extensions_mut().insert(Peer(peer));
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(bytes.to_vec()).unwrap() }
}

fn plain(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Full<bytes::Bytes>> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::default()).unwrap()
}

fn echo(path: &str, headers: &[(&str, &str)]) -> Request<Full<bytes::Bytes>> {
    let mut builder = Request::builder().method("POST").uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    call_request(builder, "echo", &json!({"text": "hello"}))
}

const PUBLIC: &str = "
http: {public_urls: ['https://mcp.example.com'], trusted_proxies: [10.0.0.0/8]}
cors: {allowed_origins: ['https://claude.ai']}
";
const HOST: (&str, &str) = ("host", "mcp.example.com");

#[tokio::test]
async fn the_endpoint_is_at_its_path_with_and_without_slash() {
    for (config, paths) in [
        (PUBLIC.to_owned(), &["/mcp", "/mcp/"][..]),
        (format!("{PUBLIC}server: {{path: /}}"), &["/"]),
        (format!("{PUBLIC}server: {{path: /team/weather}}"), &["/team/weather", "/team/weather/"]),
    ] {
        let router = router(&config).await;
        for path in paths {
            let answer = ask(&router, "192.0.2.1", echo(path, &[HOST])).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert!(answer.body.contains("hello"), "{answer:?}");
        }
    }
    let answer = ask(&router(PUBLIC).await, "192.0.2.1", echo("/other", &[HOST])).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn every_answer_has_the_security_headers_and_hsts_only_by_tls() {
    let router = router(&format!("{PUBLIC}auth: {{issuer_url: 'http://127.0.0.1:9'}}\n")).await;
    for (method, path, host, status) in [
        ("GET", "/health", "10.1.2.3", 503),
        ("POST", "/health", "10.1.2.3", 405),
        ("GET", "/mcp", HOST.1, 401),
        ("PUT", "/mcp", HOST.1, 401),
        ("OPTIONS", "/mcp", HOST.1, 401),
        ("GET", "/mcp", "evil.example.com", 403),
        ("GET", "/.well-known/oauth-protected-resource", HOST.1, 200),
        ("POST", "/.well-known/oauth-protected-resource", HOST.1, 405),
        ("GET", "/nothing", HOST.1, 404),
        ("BREW", "/nothing", HOST.1, 404),
    ] {
        for (peer, secure) in [("192.0.2.1", false), ("10.0.0.1", true)] {
            let headers = [("host", host), ("x-forwarded-proto", "https")];
            let answer = ask(&router, peer, plain(method, path, &headers)).await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
            assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{method} {path}");
            assert_eq!(answer.header("x-request-id").is_some(), path != "/health", "{method} {path}");
            // Nobody is believed who is not trusted.
            let year = secure.then_some("max-age=31536000; includeSubDomains");
            assert_eq!(answer.header("strict-transport-security"), year, "{method} {path} from {peer}");
        }
    }
}

#[tokio::test]
async fn the_management_listener_has_the_security_headers_too() {
    let app = start("").await;
    let router = mcp_server::management::router(&app);
    for path in ["/livez", "/readyz", "/server", "/metrics", "/health", "/nothing"] {
        let answer = ask(&router, "127.0.0.1", plain("GET", path, &[])).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("strict-transport-security"), None, "{path}");
    }
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    // At a loopback address, loopback names would be good.
    let router = router(&format!("{PUBLIC}server: {{host: 0.0.0.0}}\nauth: {{anonymous: allow}}\n")).await;
    let refused: [&[(&str, &str)]; 7] = [
        &[("host", "evil.example.com")],
        &[("host", "localhost:8000")],
        &[],
        &[HOST, ("host", "evil.example.com")],
        &[HOST, ("origin", "https://evil.example.com")],
        &[HOST, ("origin", "null")],
        &[HOST, ("origin", "https://claude.ai"), ("origin", "https://evil.example.com")],
    ];
    for headers in refused {
        let answer = ask(&router, "192.0.2.1", echo("/mcp", headers)).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert_eq!(answer.json()["jsonrpc"], "2.0");
        assert_eq!(answer.header("access-control-allow-origin").filter(|origin| *origin != "https://claude.ai"), None);
    }
    for headers in
        [&[HOST][..], &[HOST, ("origin", "https://claude.ai")], &[HOST, ("origin", "https://mcp.example.com")]]
    {
        let answer = ask(&router, "192.0.2.1", echo("/mcp", headers)).await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn the_target_of_http2_is_the_host() {
    let router = router(PUBLIC).await;
    let answer = ask(&router, "192.0.2.1", echo("http://mcp.example.com/mcp", &[])).await;
    assert_eq!(answer.status, 200);
    let answer = ask(&router, "192.0.2.1", echo("http://evil.example.com/mcp", &[])).await;
    assert_eq!(answer.status, 403);
    let answer = ask(&router, "192.0.2.1", echo("http://mcp.example.com/mcp", &[("host", "evil.example.com")])).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn pages_of_allowed_origins_can_read_answers_and_errors() {
    let router = router(PUBLIC).await;
    for (request, status) in [
        (echo("/mcp", &[HOST, ("origin", "https://claude.ai")]), 200),
        (plain("PUT", "/mcp", &[HOST, ("origin", "https://claude.ai")]), 405),
    ] {
        let answer = ask(&router, "192.0.2.1", request).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://claude.ai"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("Mcp-Session-Id, WWW-Authenticate"));
    }
}

#[tokio::test]
async fn preflights_are_answered_and_mirror_the_protocols_headers() {
    let router = router(PUBLIC).await;
    let preflight = |origin: &'static str| {
        let headers = [
            HOST,
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, mcp-name, Mcp-Param-City, x-evil"),
        ];
        plain("OPTIONS", "/mcp", &headers)
    };
    let answer = ask(&router, "192.0.2.1", preflight("https://claude.ai")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://claude.ai"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
    assert_eq!(answer.header("access-control-max-age"), Some("3600"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    for name in ["Authorization", "Last-Event-ID", "MCP-Protocol-Version", "mcp-name", "Mcp-Param-City"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert!(!allowed.contains("x-evil"), "{allowed}");

    let answer = ask(&router, "192.0.2.1", preflight("https://evil.example.com")).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (403, None));
}

#[tokio::test]
async fn any_origin_is_allowed_where_a_star_is_written() {
    let router = router("cors: {allowed_origins: ['*']}").await;
    let headers = [("host", "localhost:8000"), ("origin", "https://anything.example.com")];
    let answer = ask(&router, "127.0.0.1", echo("/mcp", &headers)).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, Some("*")));
}

#[tokio::test]
async fn streams_tell_proxies_not_to_buffer() {
    let router = router("").await;
    let builder = Request::builder().method("POST").uri("/mcp").header("host", "localhost:8000");
    let request = call_request(builder, "progress", &json!({"steps": 1, "delayMs": 1}));
    let answer = ask(&router, "127.0.0.1", request).await;
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"), "{answer:?}");
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
}

#[tokio::test]
async fn the_authorization_metadata_is_for_everybody_at_both_paths() {
    // Nobody listens there: the document needs no answer of the issuer.
    let config = "
http: {public_urls: ['https://mcp.example.com']}
auth: {issuer_url: 'http://127.0.0.1:9'}
";
    let router = router(config).await;
    for path in ["", "/", "/mcp", "/mcp/"] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let headers = [HOST, ("origin", "https://anything.example.com")];
        let answer = ask(&router, "192.0.2.1", plain("GET", &path, &headers)).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.json()["resource"], "https://mcp.example.com/mcp", "{path}");
        assert_eq!(answer.json()["authorization_servers"], json!(["http://127.0.0.1:9"]), "{path}");
    }
    let answer = ask(&router, "192.0.2.1", echo("/mcp", &[HOST])).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").unwrap().contains("resource_metadata="), "{answer:?}");

    let open = self::router("").await;
    let path = "/.well-known/oauth-protected-resource";
    let answer = ask(&open, "127.0.0.1", plain("GET", path, &[("host", "localhost")])).await;
    assert_eq!(answer.status, 404, "where no token is needed");
}
