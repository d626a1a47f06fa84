//! TLS in the process, with the real program and certificates of an authority of the test's own.

use std::net::SocketAddr;

use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use mcp_server::serve::Server;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::client::{call_request, get, read};
use crate::process::{PORTS, Runtime, config_map, program};
use crate::tls_client::{Authority, Pair, Tls, exchange, section};

/// A runtime with a certificate until 2040.
async fn start(authority: &Authority, more: &str) -> (Runtime, TempDir) {
    let files = tempfile::tempdir().unwrap();
    authority.sign(2040).write(files.path());
    let runtime = Runtime::start(&format!("{PORTS}{}", section(files.path(), more))).await;
    (runtime, files)
}

fn url(address: SocketAddr) -> http::request::Builder {
    Request::post(format!("https://localhost:{}/mcp", address.port()))
}

fn echo(address: SocketAddr) -> Request<Full<bytes::Bytes>> {
    call_request(url(address), "echo", &json!({"text": "hello"}))
}

async fn serial(tls: &Tls, address: SocketAddr) -> Vec<u8> {
    tls.connect(address).await.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn metric(runtime: &Runtime, name: &str) -> f64 {
    let text = get(runtime.management, "/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken_and_carry_hsts() {
    let authority = Authority::new();
    let (mut runtime, _files) = start(&authority, "").await;
    assert!(runtime.line("serving").await["endpoint"].as_str().unwrap().starts_with("https://"));
    for (version, name) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        for (protocol, http) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
            let client = Tls::with(&authority, &[version], |_| true, None).alpn(protocol);
            let stream = client.connect(runtime.mcp).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(name));
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
            let response = exchange(stream, echo(runtime.mcp)).await.unwrap();
            assert_eq!(response.version(), http);
            let answer = read(response).await;
            assert!(answer.status == 200 && answer.body.contains("hello"), "{answer:?}");
            assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000; includeSubDomains"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
}

#[tokio::test]
async fn what_is_older_than_the_minimum_or_of_another_cipher_family_is_refused() {
    let authority = Authority::new();
    let old = Tls::with(&authority, &[&rustls::version::TLS12], |_| true, None);
    let (runtime, _files) = start(&authority, ", min_version: '1.3'").await;
    assert!(old.connect(runtime.mcp).await.is_err());
    assert!(Tls::new(&authority).connect(runtime.mcp).await.is_ok());

    let only = |suite: CipherSuite| Tls::with(&authority, &[&rustls::version::TLS12], move |it| it == suite, None);
    let aes = only(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    let chacha = only(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    for (ciphers, takes_aes, takes_chacha) in [
        ("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!MD5:!DSS", true, true),
        ("ECDHE+CHACHA20", false, true),
        ("ECDHE+AESGCM", true, false),
    ] {
        let (runtime, _files) = start(&authority, &format!(", ciphers: '{ciphers}'")).await;
        assert_eq!(aes.connect(runtime.mcp).await.is_ok(), takes_aes, "{ciphers}");
        assert_eq!(chacha.connect(runtime.mcp).await.is_ok(), takes_chacha, "{ciphers}");
    }
}

#[tokio::test]
async fn a_second_connection_resumes() {
    let authority = Authority::new();
    let (runtime, _files) = start(&authority, "").await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = Tls::with(&authority, &[version], |_| true, None).alpn("http/1.1");
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let stream = client.connect(runtime.mcp).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            // The ticket of TLS 1.3 comes with the first bytes.
            exchange(stream, echo(runtime.mcp)).await.unwrap().into_body().collect().await.unwrap();
        }
        assert_eq!(kinds[1], HandshakeKind::Resumed, "{version:?}");
    }
}

/// As a Secret volume: cert-manager renews, the kubelet swaps a symbolic link.
#[tokio::test]
async fn a_renewed_certificate_is_served_without_dropping_a_stream() {
    let authority = Authority::new();
    let (old, new) = (authority.sign(2040), authority.sign(2041));
    let files = tempfile::tempdir().unwrap();
    let swap = |version: u32, pair: &Pair| {
        // Both files in one directory, which is swapped with the second.
        let data = files.path().join(format!("..{version}"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("tls.key"), &pair.key).unwrap();
        config_map(files.path(), version, "tls.crt", &pair.certificate);
    };
    swap(1, &old);
    std::os::unix::fs::symlink("..data/tls.key", files.path().join("tls.key")).unwrap();
    let mut runtime = Runtime::start(&format!("{PORTS}{}", section(files.path(), ""))).await;
    let client = Tls::new(&authority).alpn("h2");
    let before = serial(&client, runtime.mcp).await;
    let expiry = "mcp_tls_certificate_expiry_timestamp_seconds";
    let seconds = |text: &str| text.parse::<Timestamp>().unwrap().as_second() as f64;
    assert_eq!(metric(&runtime, expiry).await, seconds("2040-01-01T00:00:00Z"));

    let stream = client.connect(runtime.mcp).await.unwrap();
    let long = call_request(url(runtime.mcp), "progress", &json!({"steps": 80, "delayMs": 100}));
    let mut response = exchange(stream, long).await.unwrap();
    response.frame().await.unwrap().unwrap();
    swap(2, &new);
    runtime.line("certificate reloaded").await;
    assert_ne!(serial(&client, runtime.mcp).await, before);
    assert_eq!(metric(&runtime, expiry).await, seconds("2041-01-01T00:00:00Z"));
    let report = get(runtime.management, "/server").await.json();
    assert_eq!(report["tls"], json!({"notAfter": "2041-01-01T00:00:00Z", "error": null}));
    let answer = read(response).await;
    assert!(answer.body.contains("\"result\""), "{answer:?}");
}

#[tokio::test]
async fn a_new_pair_that_cannot_be_used_keeps_the_old_one_and_is_told_once() {
    let authority = Authority::new();
    let (mut runtime, files) = start(&authority, "").await;
    let good = std::fs::read_to_string(files.path().join("tls.crt")).unwrap();
    let client = Tls::new(&authority);
    let before = serial(&client, runtime.mcp).await;

    let expired = authority.sign(2020);
    let cases = [
        (None, Some(authority.sign(2050).key), "is not the key of the certificate in"),
        (Some("no certificate".to_owned()), None, "holds no certificate in PEM form"),
        (Some(expired.certificate.clone()), Some(expired.key.clone()), "has expired at 2020-01-01T00:00:00Z"),
    ];
    let key = std::fs::read_to_string(files.path().join("tls.key")).unwrap();
    for (certificate, other_key, message) in cases {
        Pair {
            certificate: certificate.unwrap_or_else(|| good.clone()),
            key: other_key.unwrap_or_else(|| key.clone()),
        }
        .write(files.path());
        let report = runtime
            .until(runtime.management, "/server", |answer| {
                answer.json()["tls"]["error"].as_str().is_some_and(|error| error.contains(message))
            })
            .await
            .json();
        assert_eq!(report["tls"]["notAfter"], "2040-01-01T00:00:00Z");
        assert_eq!(serial(&client, runtime.mcp).await, before);
    }
    assert_eq!(metric(&runtime, "mcp_tls_reloads_total{result=\"error\"}").await, 3.0);
    runtime.line("certificate refused; the earlier one stays").await;

    Pair { certificate: good, key }.write(files.path());
    runtime.until(runtime.management, "/server", |answer| answer.json()["tls"]["error"].is_null()).await;
    // Several polls later no case has been told twice.
    let told = runtime.lines();
    let told = told.iter().filter(|line| line["message"] == "certificate refused; the earlier one stays").count();
    assert_eq!(told, 3);
    assert!(!format!("{:?}", runtime.lines()).contains("PRIVATE KEY"));
}

#[tokio::test]
async fn files_that_cannot_be_used_end_the_start_and_are_named() {
    let authority = Authority::new();
    let files = tempfile::tempdir().unwrap();
    let config = files.path().join("config.yaml");
    std::fs::write(&config, format!("{PORTS}{}", section(files.path(), ""))).unwrap();
    let refused = async |message: &str| {
        let output = program().arg("--config").arg(&config).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(message) && !text.contains("PRIVATE"), "{text}");
    };
    refused("tls.cert_file: cannot read").await;
    let pair = authority.sign(2040);
    Pair { key: authority.sign(2040).key, ..pair.clone() }.write(files.path());
    refused("is not the key of the certificate in").await;
    Pair { key: pair.certificate.clone(), ..pair }.write(files.path());
    refused("holds no private key in PEM form").await;
}

#[tokio::test]
async fn clients_need_a_certificate_where_it_is_required_and_authorities_are_reloaded() {
    let (authority, first, second) = (Authority::new(), Authority::new(), Authority::new());
    let files = tempfile::tempdir().unwrap();
    authority.sign(2040).write(files.path());
    let ca = files.path().join("clients.crt");
    std::fs::write(&ca, &first.pem).unwrap();
    let more = format!(", client_ca_file: {}", ca.display());
    let mut runtime = Runtime::start(&format!("{PORTS}{}", section(files.path(), &more))).await;
    let address = runtime.mcp;
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let of = |pair: Option<&Pair>| Tls::with(&authority, &versions, |_| true, pair).alpn("http/1.1");
    let (nobody, one, other) = (of(None), of(Some(&first.sign(2040))), of(Some(&second.sign(2040))));

    assert!(nobody.ask(address, echo(address)).await.is_err());
    assert!(other.ask(address, echo(address)).await.is_err());
    assert_eq!(one.ask(address, echo(address)).await.unwrap().status, 200);

    // The other authority takes over: a ticket from before opens nothing.
    std::fs::write(&ca, &second.pem).unwrap();
    runtime.line("certificate reloaded").await;
    assert!(one.ask(address, echo(address)).await.is_err());
    assert_eq!(other.ask(address, echo(address)).await.unwrap().status, 200);
    assert!(metric(&runtime, "mcp_tls_handshakes_total{result=\"failed\"}").await >= 3.0);

    // Probes need none, nor does the health check of the image.
    let port = runtime.management.port().to_string();
    let output = program()
        .args(["healthcheck", "--config"])
        .arg(runtime.path("config.yaml"))
        .env("METRICS_PORT", port)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn optional_certificates_are_checked_only_where_they_are_sent() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().unwrap();
    authority.sign(2040).write(files.path());
    std::fs::write(files.path().join("clients.crt"), &clients.pem).unwrap();
    let more = format!(", client_auth: optional, client_ca_file: {}/clients.crt", files.path().display());
    let runtime = Runtime::start(&format!("{PORTS}{}", section(files.path(), &more))).await;
    let address = runtime.mcp;
    let of = |pair: Option<&Pair>| Tls::with(&authority, &[&rustls::version::TLS13], |_| true, pair);
    assert_eq!(of(None).ask(address, echo(address)).await.unwrap().status, 200);
    assert_eq!(of(Some(&clients.sign(2040))).ask(address, echo(address)).await.unwrap().status, 200);
    assert!(of(Some(&Authority::new().sign(2040))).ask(address, echo(address)).await.is_err());
}

#[tokio::test]
async fn clients_that_do_not_shake_hands_keep_nobody_waiting() {
    let authority = Authority::new();
    let (runtime, _files) = start(&authority, "").await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(runtime.mcp).await.unwrap());
    }
    let answer = Tls::new(&authority).ask(runtime.mcp, echo(runtime.mcp)).await.unwrap();
    assert_eq!(answer.status, 200);

    // Plain HTTP at the port of TLS.
    let mut plain = TcpStream::connect(runtime.mcp).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    assert_eq!(metric(&runtime, "mcp_tls_handshakes_total{result=\"failed\"}").await, 1.0);
}

/// The clock is the test's own, and runs ahead of the sockets: without the limit the test would not end.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_ends_and_is_counted() {
    let authority = Authority::new();
    let files = tempfile::tempdir().unwrap();
    authority.sign(2040).write(files.path());
    let app = crate::layers::start(&format!("{PORTS}{}", section(files.path(), ""))).await;
    let metrics = std::sync::Arc::clone(&app.metrics);
    let server = Server::bind(app).await.unwrap();
    let address = server.mcp_address().unwrap();
    let (_sender, signals) = mpsc::channel(1);
    tokio::spawn(server.run(signals));

    // The first bytes of a ClientHello.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    assert!(text.contains("mcp_tls_handshakes_total{result=\"timeout\"} 1"), "{text}");
}
