//! What the operator tells ingress controllers, in front of real servers: the annotations that `operator/tests/exposure.rs`
//! has for review become the configuration that the controller makes of them, for the nginx and the HAProxy of the
//! distribution. The controllers themselves do not run here. An annotation without a translation fails the test.

mod haproxy;
mod nginx;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use http::{Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Answer, begin, call_request, get, request, send};
use crate::process::{PORTS, Runtime};
use crate::proxy::{Kind, Proxy};
use crate::tls_client::{self, Authority, Tls};

/// What the runtime takes when nobody says otherwise, and what the annotations say of it.
const MAX_BODY: usize = 4 * 1024 * 1024;

type Annotations = BTreeMap<String, String>;

/// What a controller makes of the annotations, as far as they matter.
#[derive(Debug, Default)]
struct Made {
    /// Lines of the place that proxies.
    proxy: Vec<String>,
    /// Lines of the group of servers.
    balance: Vec<String>,
    /// Plain HTTP is answered with a redirect of that status.
    redirect: Option<u16>,
    /// The pods are spoken to by TLS.
    inner_tls: bool,
}

/// One of the operator's profiles.
#[derive(Debug, Clone, Copy)]
struct Profile {
    name: &'static str,
    kind: Kind,
    make: fn(&str, &str, &mut Made) -> bool,
}

const PROFILES: [Profile; 4] = [
    Profile { name: "ingress-nginx", kind: Kind::Nginx, make: nginx::community },
    Profile { name: "f5-nginx", kind: Kind::Nginx, make: nginx::f5 },
    Profile { name: "haproxy-ingress", kind: Kind::Haproxy, make: haproxy::community },
    Profile { name: "haproxy-technologies", kind: Kind::Haproxy, make: haproxy::technologies },
];

/// Two servers with sessions of their own, behind a controller's configuration.
struct Stage {
    proxy: Proxy,
    servers: [Runtime; 2],
    authority: Authority,
    _certificates: TempDir,
}

impl Stage {
    /// `route`: a name in the file for review.
    async fn set(profile: Profile, route: &str) -> Self {
        Self::set_with(profile, route, "50s").await
    }

    /// With another `timeout client` than the default of the HAProxy controllers.
    async fn set_with(profile: Profile, route: &str, client_timeout: &str) -> Self {
        let made = made(profile, &reviewed(profile.name, route));
        let authority = Authority::new();
        let pair = authority.sign(2040);
        let certificates = tempfile::tempdir().unwrap();
        pair.write(certificates.path());
        let tls = if made.inner_tls { tls_client::section(certificates.path(), "") } else { String::new() };
        let config = format!(
            "{PORTS}{tls}
http: {{public_urls: [https://mcp.example.com], trusted_proxies: [127.0.0.1/32]}}
rate_limits: {{per_client: {{requests: 0}}}}
"
        );
        let servers = [Runtime::start(&config).await, Runtime::start(&config).await];
        for server in &servers {
            server.until_ready().await;
        }
        let addresses = [servers[0].mcp, servers[1].mcp];
        let text = |directory: &Path, ports: [SocketAddr; 2]| match profile.kind {
            Kind::Haproxy => haproxy::file(&made, directory, ports, addresses, client_timeout),
            _ => nginx::file(&made, directory, ports, addresses),
        };
        let proxy = Proxy::start_with(profile.kind, &pair, text).await;
        Self { proxy, servers, authority, _certificates: certificates }
    }

    fn call(&self, tool: &str, arguments: &Value) -> Request<Full<bytes::Bytes>> {
        let builder = request("POST", self.proxy.http, "/mcp").header("host", "mcp.example.com");
        call_request(builder, tool, arguments)
    }

    /// A message in a session of the 2025 revisions, by a client with that address and token.
    async fn legacy(&self, client: Client<'_>, session: Option<&str>, message: &Value) -> Answer {
        let mut builder = Request::post("/mcp")
            .header("host", "mcp.example.com")
            .header("authorization", format!("Bearer {}", client.token))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(session) = session {
            builder = builder.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25");
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((client.address, 0).into()).unwrap();
        let stream = socket.connect(self.proxy.http).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = builder.body(Full::<bytes::Bytes>::from(message.to_string())).unwrap();
        crate::client::read(sender.send_request(request).await.unwrap()).await
    }
}

#[derive(Debug, Clone, Copy)]
struct Client<'a> {
    address: Ipv4Addr,
    token: &'a str,
}

/// The first line of the answer to a request that may be refused before it is sent.
async fn status_line(address: SocketAddr, request: Request<Full<bytes::Bytes>>) -> String {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut head = format!("POST /mcp HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in &parts.headers {
        writeln!(head, "{name}: {}\r", value.to_str().unwrap()).unwrap();
    }
    let (reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    tokio::spawn(async move {
        let _ = writer.write_all(format!("{head}\r\n").as_bytes()).await;
        let _ = writer.write_all(&body).await;
        std::future::pending::<()>().await;
    });
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).await.unwrap();
    line
}

/// The annotations of the Ingress as they were reviewed.
fn reviewed(profile: &str, route: &str) -> Annotations {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/tests/snapshots");
    let file = folder.join(format!("exposure__every_profile_annotates_as_reviewed@{profile}.snap"));
    let text = std::fs::read_to_string(file).unwrap();
    let (_, yaml) = text.trim_start_matches("---\n").split_once("\n---\n").unwrap();
    let mut routes: BTreeMap<String, BTreeMap<String, Option<Annotations>>> = serde_saphyr::from_str(yaml).unwrap();
    let mut of_route = routes.remove(route).unwrap();
    assert!(of_route.remove("service").unwrap().is_none(), "annotations of the Service have no translation");
    of_route.remove("ingress").unwrap().unwrap()
}

fn made(profile: Profile, annotations: &Annotations) -> Made {
    let mut made = Made::default();
    for (name, value) in annotations {
        assert!((profile.make)(name, value, &mut made), "{}: {name}: {value} has no translation", profile.name);
    }
    made
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    for profile in PROFILES {
        let stage = Stage::set(profile, "plain").await;
        // Half a minute: a proxy that buffers would send it all at once, with the result.
        let mut response = begin(stage.call("progress", &json!({"steps": 60, "delayMs": 500}))).await;
        assert_eq!(response.status(), StatusCode::OK, "{}", profile.name);
        for _ in 0..3 {
            let frame = response.frame().await.unwrap().unwrap();
            let event = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            assert!(event.contains("notifications/progress") && !event.contains("\"result\""), "{event}");
        }
    }
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_runtime_takes() {
    for profile in PROFILES {
        let stage = Stage::set(profile, "plain").await;
        let rest =
            usize::try_from(stage.call("echo", &json!({"text": ""})).body().size_hint().exact().unwrap()).unwrap();
        let of_size = |size: usize| stage.call("echo", &json!({"text": "x".repeat(size - rest)}));
        assert_eq!(send(of_size(MAX_BODY)).await.status, 200, "{}", profile.name);
        let status = status_line(stage.proxy.http, of_size(MAX_BODY + 1)).await;
        assert!(status.starts_with("HTTP/1.1 413 "), "{}: {status}", profile.name);
    }
}

#[tokio::test]
async fn plain_http_is_redirected() {
    for profile in PROFILES {
        let stage = Stage::set(profile, "tls").await;
        let plain = request("GET", stage.proxy.http, "/mcp?a=b").header("host", "mcp.example.com");
        let answer = send(plain.body(Full::default()).unwrap()).await;
        assert!(answer.status.is_redirection(), "{}: {answer:?}", profile.name);
        let to = answer.header("location").unwrap().replace(":443/", "/");
        assert_eq!(to, "https://mcp.example.com/mcp?a=b", "{}", profile.name);
        // A route that asks for none has none.
        let stage = Stage::set(profile, "plain").await;
        assert_eq!(send(stage.call("echo", &json!({"text": "a"}))).await.status, 200, "{}", profile.name);
    }
}

#[tokio::test]
async fn pods_with_tls_are_spoken_to_by_tls() {
    for profile in PROFILES {
        let stage = Stage::set(profile, "tls inside").await;
        assert_eq!(send(stage.call("echo", &json!({"text": "a"}))).await.status, 200, "{}", profile.name);
    }
}

#[tokio::test]
async fn clients_stay_at_their_server_by_token() {
    clients_stay_at_their_server("by token", |number| (Ipv4Addr::LOCALHOST, format!("token-{number}"))).await;
}

#[tokio::test]
async fn clients_stay_at_their_server_by_address() {
    clients_stay_at_their_server("by address", |number| (Ipv4Addr::new(127, 0, 1, number), "same".to_owned())).await;
}

/// Sessions are in the memory of one server: any other answers 404.
async fn clients_stay_at_their_server(route: &str, client: impl Fn(u8) -> (Ipv4Addr, String)) {
    for profile in PROFILES {
        let stage = Stage::set(profile, route).await;
        for number in 1..=16 {
            let (address, token) = client(number);
            let client = Client { address, token: &token };
            let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
            let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
            let opened = stage.legacy(client, None, &message).await;
            let session = opened.header("mcp-session-id").unwrap_or_else(|| panic!("{}: {opened:?}", profile.name));
            for _ in 0..4 {
                let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
                let answer = stage.legacy(client, Some(session), &list).await;
                assert_eq!(answer.status, 200, "{} {route} {number}: {answer:?}", profile.name);
            }
        }
        let mut sessions = HashSet::new();
        for server in &stage.servers {
            let metrics = get(server.management, "/metrics").await.body;
            let open = metrics.lines().find(|line| line.starts_with("mcp_active_sessions ")).unwrap().to_owned();
            sessions.insert(open);
        }
        assert!(!sessions.contains("mcp_active_sessions 0"), "{} {route}: all went to one: {sessions:?}", profile.name);
    }
}

/// `timeout client` is the controller's for all routes. It does not count while an answer is waited for, nor between the
/// events of one: no call needs it longer.
#[tokio::test]
async fn the_timeout_for_clients_of_haproxy_cuts_no_call() {
    for profile in PROFILES.into_iter().filter(|profile| profile.kind == Kind::Haproxy) {
        let stage = Stage::set_with(profile, "plain", "1s").await;
        let slow = json!({"steps": 2, "delayMs": 3000});
        let plain = send(stage.call("progress", &slow)).await;
        let mut answers = vec![plain];
        for protocol in ["h2", "http/1.1"] {
            let client = Tls { name: "mcp.example.com", ..Tls::new(&stage.authority).alpn(protocol) };
            let call = call_request(Request::post("https://mcp.example.com/mcp"), "progress", &slow);
            answers.push(client.ask(stage.proxy.https, call).await.unwrap());
        }
        for answer in answers {
            assert_eq!(answer.status, 200, "{}: {answer:?}", profile.name);
            assert!(answer.body.contains("\"result\""), "{}: {answer:?}", profile.name);
        }
    }
}
