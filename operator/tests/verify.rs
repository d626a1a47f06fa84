//! The verifier against servers that answer over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use e2e::clusters::certificates::Authority;
use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use mcp_operator::cache::{Endpoint, Key};
use mcp_operator::metrics::Metrics;
use mcp_operator::queue::Queue;
use mcp_operator::verify::{Anonymous, Findings, PodTls, Target, Verifier, Via};
use mcp_server_config::report::{BackendReport, LiveReport, ServerReport};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Reached only when something is broken. Less than the pause between two rounds of a server that is well.
const PATIENCE: Duration = Duration::from_secs(45);

/// A runtime as the verifier sees it.
struct Fake {
    digest: Mutex<String>,
    status: AtomicU16,
    body_bytes: AtomicUsize,
    reports: AtomicUsize,
    versions: Mutex<Vec<String>>,
    ended: Mutex<Vec<HeaderMap>>,
    asked: Mutex<Vec<(HeaderMap, Value)>>,
}

async fn fake() -> (Arc<Fake>, u16) {
    let fake = Arc::new(Fake {
        digest: Mutex::new("new".to_owned()),
        status: AtomicU16::new(200),
        body_bytes: AtomicUsize::new(0),
        reports: AtomicUsize::new(0),
        versions: Mutex::default(),
        ended: Mutex::default(),
        asked: Mutex::new(Vec::new()),
    });
    let router =
        Router::new().route("/server", get(report)).route("/mcp", post(mcp).delete(end)).with_state(Arc::clone(&fake));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (fake, port)
}

async fn report(State(fake): State<Arc<Fake>>) -> String {
    fake.reports.fetch_add(1, Ordering::Relaxed);
    let live = LiveReport { digest: fake.digest.lock().unwrap().clone(), error: None };
    let backend =
        BackendReport { protocol_versions: fake.versions.lock().unwrap().clone(), ..BackendReport::default() };
    let report = serde_json::to_string(&ServerReport { live, backend, ..ServerReport::default() }).unwrap();
    report + &" ".repeat(fake.body_bytes.load(Ordering::Relaxed))
}

async fn mcp(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: String) -> Response<Body> {
    fake.asked.lock().unwrap().push((headers, serde_json::from_str(&body).unwrap()));
    let status = StatusCode::from_u16(fake.status.load(Ordering::Relaxed)).unwrap();
    let answer = Response::builder().status(status);
    let answer = match status.as_u16() {
        401 => answer.header(header::WWW_AUTHENTICATE, r#"Bearer resource_metadata="http://x/.well-known/y""#),
        307 => answer.header(header::LOCATION, "http://169.254.169.254/"),
        _ => answer,
    };
    let begins = fake.asked.lock().unwrap().last().unwrap().1["method"] == "initialize";
    let answer = if begins { answer.header("mcp-session-id", "s") } else { answer };
    answer.body(Body::from("{}")).unwrap()
}

async fn end(State(fake): State<Arc<Fake>>, headers: HeaderMap) {
    fake.ended.lock().unwrap().push(headers);
}

fn target(port: u16) -> Target {
    let pod = Endpoint { pod: "p".to_owned(), address: "127.0.0.1".parse().unwrap(), ready: true };
    Target {
        server: Key::new("ns", "demo"),
        uid: "u".to_owned(),
        host: "localhost".to_owned(),
        dns: "localhost".to_owned(),
        port,
        path: "/mcp".to_owned(),
        enforces_auth: false,
        tls: None,
        live_digest: "new".to_owned(),
        mcp_port: port,
        management_port: port,
        pods: vec![pod],
    }
}

fn verifier() -> (Verifier, UnboundedReceiver<Key>) {
    let (queue, woken) = Queue::new();
    (Verifier::new(Via::Cluster, queue, Arc::new(Metrics::new(false).unwrap())), woken)
}

/// Observes until the findings are as wanted; woken by the queue only, as the controller is.
async fn until(
    verifier: &Verifier,
    woken: &mut UnboundedReceiver<Key>,
    target: &Target,
    wanted: impl Fn(&Findings) -> bool,
) -> Arc<Findings> {
    let asked = async {
        loop {
            if let Some(findings) = verifier.observe(target).filter(|found| wanted(found)) {
                return findings;
            }
            assert_eq!(woken.next().await, Some(target.server.clone()));
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test]
async fn a_server_is_asked_as_a_modern_client_asks() {
    let (fake, port) = fake().await;
    let (verifier, mut woken) = verifier();
    let found = until(&verifier, &mut woken, &target(port), |_| true).await;
    assert_eq!(found.anonymous, Some(Anonymous::Served));
    assert_eq!(found.misses, 0);
    let (headers, body) = fake.asked.lock().unwrap()[0].clone();
    assert_eq!(headers["mcp-protocol-version"], "2026-07-28");
    assert_eq!(headers["mcp-method"], "tools/list");
    assert_eq!(headers[header::HOST], "localhost");
    assert!(!headers.contains_key(header::AUTHORIZATION));
    assert_eq!(body["method"], "tools/list");
    assert_eq!(body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
}

#[tokio::test]
async fn a_server_of_earlier_revisions_is_asked_by_theirs_and_keeps_no_session() {
    let (fake, port) = fake().await;
    *fake.versions.lock().unwrap() = vec!["2025-11-25".to_owned(), "2025-06-18".to_owned()];
    let (verifier, mut woken) = verifier();
    let found = until(&verifier, &mut woken, &target(port), |_| true).await;
    assert_eq!(found.anonymous, Some(Anonymous::Served));
    let (headers, body) = fake.asked.lock().unwrap()[0].clone();
    assert_eq!(body["method"], "initialize");
    assert_eq!(body["params"]["protocolVersion"], "2025-11-25");
    assert!(!headers.contains_key("mcp-method"));
    let ended = fake.ended.lock().unwrap().clone();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["mcp-session-id"], "s");
}

#[tokio::test]
async fn a_refusal_is_told_apart_from_a_redirect_and_a_busy_server() {
    let (fake, port) = fake().await;
    for (status, expected) in [
        (401, Anonymous::Refused { metadata: true }),
        (307, Anonymous::Other(307)),
        (503, Anonymous::Failed("status 503".to_owned())),
        (429, Anonymous::Limited),
    ] {
        fake.status.store(status, Ordering::Relaxed);
        let (verifier, mut woken) = verifier();
        let found = until(&verifier, &mut woken, &target(port), |_| true).await;
        assert_eq!(found.anonymous, Some(expected));
    }
}

#[tokio::test]
async fn the_service_is_not_asked_while_a_pod_has_the_old_configuration() {
    let (fake, port) = fake().await;
    *fake.digest.lock().unwrap() = "old".to_owned();
    let (verifier, mut woken) = verifier();
    let found = until(&verifier, &mut woken, &target(port), |_| true).await;
    assert_eq!(found.anonymous, None);
    assert!(fake.asked.lock().unwrap().is_empty());
    *fake.digest.lock().unwrap() = "new".to_owned();
    let found = until(&verifier, &mut woken, &target(port), Findings::is_reloaded).await;
    assert_eq!(found.anonymous, Some(Anonymous::Served));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_missed_three_times_and_no_more() {
    let (verifier, mut woken) = verifier();
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let found = until(&verifier, &mut woken, &target(port), |found| found.misses == 3).await;
    let why = found.of_pod("p").unwrap().clone().unwrap_err();
    assert!(why.starts_with("connect to 127.0.0.1:"), "{why}");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let (fake, port) = fake().await;
    fake.body_bytes.store(1024 * 1024, Ordering::Relaxed);
    let (verifier, mut woken) = verifier();
    let found = until(&verifier, &mut woken, &target(port), |_| true).await;
    let why = found.of_pod("p").unwrap().clone().unwrap_err();
    assert!(why.contains("length limit exceeded"), "{why}");
}

#[tokio::test]
async fn a_changed_target_is_asked_at_once() {
    let (fake, port) = fake().await;
    let (verifier, mut woken) = verifier();
    until(&verifier, &mut woken, &target(port), |_| true).await;
    // All is well: the next regular round is a minute away.
    *fake.digest.lock().unwrap() = "newer".to_owned();
    let changed = Target { live_digest: "newer".to_owned(), ..target(port) };
    until(&verifier, &mut woken, &changed, |found| found.live_digest == "newer" && found.is_reloaded()).await;
}

#[tokio::test]
async fn many_changes_in_a_row_are_asked_about_together() {
    let (fake, port) = fake().await;
    let (verifier, mut woken) = verifier();
    until(&verifier, &mut woken, &target(port), |_| true).await;
    let before = fake.reports.load(Ordering::Relaxed);
    let changed = |change: usize| Target { live_digest: change.to_string(), ..target(port) };
    for change in 0..20 {
        verifier.observe(&changed(change));
        // The verifier could ask meanwhile.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(&verifier, &mut woken, &changed(19), |found| found.live_digest == "19").await;
    let asked = fake.reports.load(Ordering::Relaxed) - before;
    assert!(asked < 10, "asked {asked} times about 20 changes");
}

#[tokio::test]
async fn without_pods_nobody_is_asked() {
    let (fake, port) = fake().await;
    let (verifier, mut woken) = verifier();
    until(&verifier, &mut woken, &target(port), |_| true).await;
    let gone = Target { pods: Vec::new(), ..target(port) };
    assert_eq!(verifier.observe(&gone), None);
    drop(fake);
}

/// The same server behind TLS, with a certificate for `localhost` by an authority of its own: its port, and the
/// authority's PEM.
async fn behind_tls(plain: u16, folder: &Path) -> (u16, Arc<str>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority = Authority::create(folder).unwrap();
    authority.server("pod", &["localhost"], &[]).unwrap();
    let certificate = CertificateDer::from_pem_file(folder.join("pod.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("pod.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", plain)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut server).await });
        }
    });
    (port, std::fs::read_to_string(folder.join("ca.crt")).unwrap().into())
}

#[tokio::test]
async fn pods_with_tls_are_asked_by_https_and_their_certificate_is_checked() {
    let (fake, plain) = fake().await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (port, good) = behind_tls(plain, folders[0].path()).await;
    let (_, other) = behind_tls(plain, folders[1].path()).await;
    let asked = |host: &str, authorities: Option<&Arc<str>>, needs_client_certificate: bool| {
        let tls = PodTls { authorities: authorities.cloned(), needs_client_certificate };
        let target = Target { tls: Some(tls), port, host: host.to_owned(), ..target(plain) };
        async move {
            let (verifier, mut woken) = verifier();
            until(&verifier, &mut woken, &target, |_| true).await.anonymous.clone().unwrap()
        }
    };
    assert_eq!(asked("localhost", Some(&good), false).await, Anonymous::Served);
    assert_eq!(asked("localhost", None, false).await, Anonymous::Served, "nobody said by whose word");
    let bad = |answer: Anonymous| match answer {
        Anonymous::BadCertificate(why) => why,
        other => panic!("{other:?}"),
    };
    // Both authorities have one name, so that the signature tells them apart.
    assert!(bad(asked("localhost", Some(&other), false).await).contains("BadSignature"));
    assert!(bad(asked("elsewhere", Some(&good), false).await).contains("elsewhere"));
    assert!(bad(asked("localhost", Some(&"no PEM".into()), false).await).contains("spec.tls.caBundle cannot be used"));
    let before = fake.asked.lock().unwrap().len();
    assert_eq!(asked("localhost", Some(&good), true).await, Anonymous::NotAdmitted);
    assert_eq!(fake.asked.lock().unwrap().len(), before, "who would be hung up on does not ask");
}
