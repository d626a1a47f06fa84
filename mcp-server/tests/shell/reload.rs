//! Changes of the live configuration, while serving.

use serde_json::json;

use crate::client::{begin, call, call_request, get, read, request, send};
use crate::process::{PORTS, Runtime, config_map, program};

const OPEN: &str = "formatVersion: 1\nauth: {anonymous: allow}\n";
const CLOSED: &str = "formatVersion: 1\nauth: {issuer_url: 'http://127.0.0.1:9'}\n";

#[tokio::test]
async fn a_changed_live_file_counts_for_the_next_request() {
    let mut runtime = Runtime::start_with(PORTS, Some(OPEN), &[]).await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);

    runtime.write("live.yaml", CLOSED);
    let digest = mcp_server_config::digest(CLOSED);
    runtime.until(runtime.management, "/server", |answer| answer.json()["live"]["digest"] == digest.as_str()).await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 401);
    runtime.line("live configuration reloaded").await;
}

#[tokio::test]
async fn a_broken_live_file_changes_nothing_and_is_told() {
    let mut runtime = Runtime::start_with(PORTS, Some(OPEN), &[]).await;
    runtime.write("live.yaml", "formatVersion: 1\nauth: {anonymus: allow, anonymous: maybe}\n");
    let report =
        runtime.until(runtime.management, "/server", |answer| !answer.json()["live"]["error"].is_null()).await.json();
    assert_eq!(report["live"]["digest"], mcp_server_config::digest(OPEN));
    let ready = get(runtime.management, "/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["ready"]), (200, &json!(true)), "no reason to take traffic away");
    assert!(ready.json()["reload"].as_str().unwrap().contains("live.yaml"), "{ready:?}");
    assert!(report["live"]["error"].as_str().unwrap().contains("live.yaml"), "{report}");
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);
    let line = runtime.line("live configuration refused; the earlier one stays").await;
    assert!(line["exception"].is_string(), "{line}");
    assert!(get(runtime.management, "/metrics").await.body.contains("mcp_config_reloads_total{result=\"error\"} 1"));

    std::fs::remove_file(runtime.path("live.yaml")).unwrap();
    runtime.line_where(|line| line["exception"].as_str().is_some_and(|why| why.contains("cannot read"))).await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);

    runtime.write("live.yaml", OPEN);
    runtime.until(runtime.management, "/server", |answer| answer.json()["live"]["error"].is_null()).await;
}

#[tokio::test]
async fn a_reload_drops_no_stream() {
    let mut runtime = Runtime::start_with(PORTS, Some(OPEN), &[]).await;
    let legacy = |builder: http::request::Builder| {
        builder
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
    };
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let answer = send(legacy(request("POST", runtime.mcp, "/mcp")).body(message.into()).unwrap()).await;
    let session = answer.header("mcp-session-id").unwrap().to_owned();
    let with_session = |method| legacy(request(method, runtime.mcp, "/mcp")).header("mcp-session-id", &session);
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    send(with_session("POST").body(initialized.into()).unwrap()).await;
    let standing = begin(with_session("GET").body(Default::default()).unwrap()).await;
    assert_eq!(standing.status(), 200);
    let mut standing = tokio::spawn(read(standing));

    let call = call_request(request("POST", runtime.mcp, "/mcp"), "progress", &json!({"steps": 60, "delayMs": 100}));
    let running = begin(call).await;
    runtime.write("live.yaml", CLOSED);
    let digest = mcp_server_config::digest(CLOSED);
    runtime.until(runtime.management, "/server", |answer| answer.json()["live"]["digest"] == digest.as_str()).await;
    runtime.line("live configuration reloaded").await;

    let answer = read(running).await;
    assert_eq!(answer.body.matches("notifications/progress").count(), 60, "{answer:?}");
    assert!(answer.body.contains("\"result\""), "{answer:?}");
    assert!(futures::poll!(&mut standing).is_pending(), "the session's own stream goes on");
}

#[tokio::test]
async fn keys_of_a_newer_operator_are_ignored_and_named() {
    let mut runtime = Runtime::start_with(PORTS, Some(OPEN), &[]).await;
    runtime.write("live.yaml", &format!("{OPEN}from_the_future: {{a: 1}}\n"));
    let warning = "unknown key from_the_future in the live file is ignored";
    assert_eq!(runtime.line(warning).await["level"], "WARNING");
    runtime.line("live configuration reloaded").await;
}

#[tokio::test]
async fn the_log_level_changes_at_run_time() {
    let mut runtime = Runtime::start_with(PORTS, Some(OPEN), &[]).await;
    let quiet = format!("{OPEN}log_level: ERROR\n");
    runtime.write("live.yaml", &quiet);
    let digest = mcp_server_config::digest(&quiet);
    runtime.until(runtime.management, "/server", |answer| answer.json()["live"]["digest"] == digest.as_str()).await;
    get(runtime.mcp, "/unheard").await;

    runtime.write("live.yaml", OPEN);
    runtime.line("live configuration reloaded").await;
    get(runtime.mcp, "/heard").await;
    runtime.line_where(|line| line["path"] == "/heard").await;
    assert!(!runtime.lines().iter().any(|line| line["path"] == "/unheard"));
}

#[tokio::test]
async fn alone_the_live_sections_of_the_one_file_reload_too() {
    let mut runtime = Runtime::start(PORTS).await;
    runtime.write("config.yaml", &format!("{PORTS}cors: {{allowed_origins: ['https://claude.ai']}}\n"));
    runtime.line("live configuration reloaded").await;

    runtime.write("config.yaml", &format!("{PORTS}drain: {{timeout_seconds: 7}}\n"));
    runtime.line_where(|line| line["message"].as_str().is_some_and(|text| text.contains("restart to use them"))).await;
}

/// An editor truncates before it writes: the empty file in between says "defaults", which is no authentication here.
#[tokio::test]
async fn a_file_that_is_being_written_is_not_taken() {
    let mut runtime = Runtime::start(&format!("{PORTS}auth: {{issuer_url: 'http://127.0.0.1:9'}}\n")).await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 401);
    runtime.write("config.yaml", "");
    runtime.line("live configuration refused; the earlier one stays").await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 401);
    let report = get(runtime.management, "/server").await.json();
    assert!(report["live"]["error"].as_str().unwrap().starts_with("auth: the section is gone"), "{report}");

    runtime.write("config.yaml", &format!("{PORTS}auth: {{anonymous: allow}}\n"));
    runtime.line("live configuration reloaded").await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200, "who says so gets it");
}

#[tokio::test]
async fn a_text_counts_once_it_stands_still() {
    let mut runtime = Runtime::start_with(PORTS, Some(OPEN), &[]).await;
    // Longer than a few polls, and never twice the same.
    for step in 0..40 {
        runtime.write("live.yaml", &format!("{OPEN}# {step}\nunfinished_{step}: {{}}\n"));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    runtime.write("live.yaml", CLOSED);
    runtime.line("live configuration reloaded").await;
    let half = |line: &serde_json::Value| line["message"].as_str().is_some_and(|text| text.contains("unfinished"));
    assert!(!runtime.lines().iter().any(half), "{:?}", runtime.lines());
}

#[tokio::test]
async fn the_number_of_replicas_divides_the_rate_and_is_no_part_of_the_digest() {
    let limited = format!("{OPEN}rate_limits: {{per_client: {{requests: 60, per_seconds: 3600}}}}\n");
    let mut runtime = Runtime::start_with(PORTS, Some(&limited), &[]).await;
    runtime.write("replicas", "20\n");
    runtime.line_where(|line| line["replicas"] == 20).await;
    let mut served = 0;
    while call(runtime.mcp, "echo", json!({"text": "a"})).await.status == 200 {
        served += 1;
    }
    assert_eq!(served, 3);
    let report = get(runtime.management, "/server").await.json();
    assert_eq!(report["live"]["digest"], mcp_server_config::digest(&limited));

    runtime.write("replicas", "none");
    let line = runtime.line("the earlier number of replicas stays").await;
    assert!(line["exception"].as_str().unwrap().contains("write one from 1 on"), "{line}");
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 429);

    std::fs::remove_file(runtime.path("replicas")).unwrap();
    runtime.line_where(|line| line["replicas"] == 1).await;
}

#[tokio::test]
async fn a_config_map_volume_is_followed_through_its_links() {
    let directory = tempfile::tempdir().unwrap();
    let boot = directory.path().join("boot.yaml");
    let log = directory.path().join("log");
    std::fs::write(&boot, format!("{PORTS}logging: {{handlers: [{{type: file, filename: {}}}]}}\n", log.display()))
        .unwrap();
    config_map(directory.path(), 1, "live.yaml", OPEN);
    let live = directory.path().join("live.yaml");
    let _child = program().arg("--config").arg(boot).arg("--live").arg(live).arg("--no-env-overrides").spawn().unwrap();
    let logged = async |what: &str| {
        while !std::fs::read_to_string(&log).unwrap_or_default().contains(what) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    logged("serving").await;
    config_map(directory.path(), 2, "live.yaml", CLOSED);
    logged(&mcp_server_config::digest(CLOSED)).await;
}
