//! Readiness and health, with a real redis that comes and goes.

use std::sync::Arc;

use mcp_server::serve::Server;
use serde_json::json;
use tokio::sync::mpsc;

use crate::client::{call, get};
use crate::process::{PORTS, Runtime};
use crate::redis::Redis;

fn with_redis(redis: &Redis) -> String {
    format!(
        "{PORTS}redis: {{url: 'redis://:hunter2@{}', socket_timeout: 1}}\nsessions: {{store: memory}}\n",
        redis.address
    )
    .replace(":hunter2@", "")
}

#[tokio::test]
async fn health_follows_redis_and_readiness_does_not() {
    let mut redis = Redis::down();
    let runtime = Runtime::start(&with_redis(&redis)).await;

    let waiting = get(runtime.management, "/readyz").await;
    assert_eq!(waiting.status, 503);
    assert_eq!(waiting.json()["waitingFor"], json!(["redis: it has not answered yet"]));
    assert_eq!(get(runtime.management, "/livez").await.status, 200);

    redis.up().await;
    runtime.until_ready().await;
    let healthy = runtime.until(runtime.mcp, "/health", |answer| answer.status == 200).await.json();
    assert_eq!((&healthy["status"], &healthy["checks"]), (&json!("healthy"), &json!({"redis": "ok"})));
    assert!(healthy["timestamp"].as_str().unwrap().ends_with('Z'));

    let measured = async |name: &str| {
        let metrics = get(runtime.management, "/metrics").await.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{metrics}"));
        line.trim().parse::<f64>().unwrap()
    };
    assert!(measured("mcp_redis_command_duration_seconds_count").await > 0.0);
    let answers = measured("mcp_redis_command_duration_seconds_sum").await;
    assert!(answers > 0.0 && answers < 60.0, "{answers}");

    redis.stop().await;
    let unhealthy = runtime.until(runtime.mcp, "/health", |answer| answer.status == 503).await;
    assert_eq!(unhealthy.json()["status"], "unhealthy");
    assert!(measured(r#"mcp_redis_errors_total{reason="connection"}"#).await > 0.0);
    assert_eq!(measured(r#"mcp_redis_errors_total{reason="refused"}"#).await, 0.0);
    let check = unhealthy.json()["checks"]["redis"].as_str().unwrap().to_owned();
    assert!(check.starts_with("error: ") && !check.contains("127.0.0.1"), "{check}");
    assert_eq!(get(runtime.management, "/readyz").await.status, 200, "readiness stays");
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);

    redis.up().await;
    runtime.until(runtime.mcp, "/health", |answer| answer.status == 200).await;
}

#[tokio::test]
async fn nothing_configured_is_nothing_to_check() {
    let runtime = Runtime::start(PORTS).await;
    runtime.until_ready().await;
    let answer = get(runtime.mcp, "/health").await;
    let mut keys: Vec<_> = answer.json().as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["checks", "status", "timestamp"]);
    assert_eq!(answer.json()["checks"], json!({}));
}

/// The document's handler: who parses it relies on names and types.
#[tokio::test]
async fn health_has_the_documents_schema() {
    let issuer = e2e_issuer::Issuer::start(e2e_issuer::Options::default()).await.unwrap();
    let mut redis = Redis::down();
    redis.up().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.sqlite");
    let more =
        format!("auth: {{issuer_url: '{}'}}\ndatabase: {{url: 'sqlite:{}?mode=rwc'}}\n", issuer.url(), file.display());
    let runtime = Runtime::start(&format!("{}{more}", with_redis(&redis))).await;
    let answer = runtime.until(runtime.mcp, "/health", |answer| answer.status == 200).await.json();
    let expected = json!({
        "status": "healthy",
        "timestamp": answer["timestamp"],
        "checks": {"database": "ok", "redis": "ok", "auth_server": "ok"},
    });
    assert_eq!(answer, expected);
    let time: jiff::Timestamp = answer["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(time <= jiff::Timestamp::now());
}

#[tokio::test]
async fn readiness_waits_for_the_signing_keys() {
    let issuer = e2e_issuer::Issuer::start(e2e_issuer::Options::default()).await.unwrap();
    let unreachable = format!("{PORTS}auth: {{issuer_url: 'http://127.0.0.1:9'}}\n");
    let runtime = Runtime::start(&unreachable).await;
    let waiting = get(runtime.management, "/readyz").await;
    assert_eq!(waiting.json()["waitingFor"], json!(["auth_server: the signing keys are not loaded yet"]));
    let health = runtime.until(runtime.mcp, "/health", |answer| answer.status == 503).await.json();
    assert!(health["checks"]["auth_server"].as_str().unwrap().starts_with("error: "), "{health}");

    // The live sections of the file name another one.
    runtime.write("config.yaml", &format!("{PORTS}auth: {{issuer_url: '{}'}}\n", issuer.url()));
    runtime.until_ready().await;
    runtime.until(runtime.mcp, "/health", |answer| answer.json()["checks"]["auth_server"] == "ok").await;

    // Lost later: told, but ready.
    runtime.write("config.yaml", &unreachable);
    runtime.until(runtime.mcp, "/health", |answer| answer.status == 503).await;
    assert_eq!(get(runtime.management, "/readyz").await.status, 200);
}

#[tokio::test]
async fn the_metrics_are_the_documents_and_can_be_switched_off() {
    let runtime = Runtime::start(&format!("{PORTS}rate_limits: {{per_client: {{requests: 0}}}}\n")).await;
    call(runtime.mcp, "echo", json!({"text": "a"})).await;
    call(runtime.mcp, "no_such_tool", json!({})).await;
    let answer = get(runtime.management, "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    for line in [
        "mcp_tool_calls_total{endpoint=\"mcp-server\",result=\"success\",tool_name=\"echo\"} 1",
        "mcp_tool_calls_total{endpoint=\"mcp-server\",result=\"error\",tool_name=\"_other\"} 1",
        "mcp_tool_duration_seconds_count{endpoint=\"mcp-server\",tool_name=\"echo\"} 1",
        "mcp_active_connections{endpoint=\"mcp-server\"}",
        "mcp_auth_duration_seconds_count{endpoint=\"mcp-server\"} 0",
        "mcp_server_build_info{version=",
    ] {
        assert!(answer.body.contains(line), "{line} in {}", answer.body);
    }
    assert!(!answer.body.contains("no_such_tool"));

    let off = Runtime::start("server: {port: 0}\nmetrics: {port: 0, enabled: false}\n").await;
    assert_eq!(get(off.management, "/metrics").await.status, 404);
    assert_eq!(get(off.management, "/livez").await.status, 200);
}

/// The library's listeners can be started more than once in one process.
#[tokio::test]
async fn two_runtimes_share_a_process() {
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server = Server::bind(Arc::clone(&crate::layers::start(PORTS).await)).await.unwrap();
        let address = server.mcp_address().unwrap();
        let (sender, signals) = mpsc::channel(1);
        servers.push((address, sender, tokio::spawn(server.run(signals))));
    }
    for (address, sender, running) in servers {
        assert_eq!(get(address, "/health").await.status, 200);
        sender.send(()).await.unwrap();
        assert_eq!(running.await.unwrap(), mcp_server::serve::Ending::Drained);
    }
}
