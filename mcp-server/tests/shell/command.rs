//! The command line: exit codes and messages.

use std::process::Output;

use serde_json::json;

use crate::client::{call, get, request, send};
use crate::process::{PORTS, Runtime, program};
use crate::redis::Redis;

async fn run(arguments: &[&str], variables: &[(&str, &str)], config: Option<&str>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    let mut command = program();
    command.args(arguments).envs(variables.iter().copied());
    if let Some(config) = config {
        std::fs::write(&file, config).unwrap();
        command.arg("--config").arg(&file);
    }
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_typo_ends_the_start_with_file_line_and_suggestion() {
    for arguments in [&[][..], &["--check"], &["healthcheck"]] {
        let output = run(arguments, &[], Some("server:\n  prot: 80\n")).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = text(&output.stderr);
        assert!(message.contains("config.yaml: line 2: unknown key `prot`; did you mean `port`?"), "{message}");
    }
}

#[tokio::test]
async fn check_validates_and_serves_nothing() {
    let output = run(&["--check"], &[], None).await;
    assert_eq!((output.status.code(), text(&output.stdout).trim()), (Some(0), "the configuration is valid"));

    let variables = [("MCP_SERVER_HOST", "0.0.0.0")];
    let output = run(&["--check"], &variables, None).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("auth: {anonymous: allow}"));
    let output = run(&["--check", "--no-env-overrides"], &variables, None).await;
    assert_eq!(output.status.code(), Some(0));

    let output = run(&["--check"], &[("DATABASE_URL", "mysql://user:pass@db/mcp")], None).await;
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("scheme mysql are not supported") && !message.contains("pass@db"), "{message}");
}

#[tokio::test]
async fn a_bad_variable_and_a_missing_file_are_named() {
    let output = run(&[], &[("MCP_SERVER_PORT", "eighty")], None).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("MCP_SERVER_PORT: \"eighty\""));

    let output = run(&["--config", "/nowhere/config.yaml"], &[], None).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot read /nowhere/config.yaml"));
}

#[tokio::test]
async fn the_example_runs_alone() {
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/local.yaml")).unwrap();
    let variables = [("MCP_SERVER_PORT", "0"), ("METRICS_PORT", "0"), ("LOG_FORMAT", "json")];
    let runtime = Runtime::start_with(&example, None, &variables).await;
    runtime.until_ready().await;
    let answer = call(runtime.mcp, "add", json!({"a": 20, "b": 22})).await;
    assert!(answer.body.contains("42"), "{answer:?}");
}

/// The deployment document's file and variables, but for what no machine has twice: ports, redis and the log's place.
#[tokio::test]
async fn the_document_runs_alone() {
    let log = tempfile::tempdir().unwrap();
    let file = include_str!("../../config/tests/fixtures/document.yaml");
    let file = file.replace("/var/log", &log.path().display().to_string());
    let mut redis = Redis::down();
    redis.up().await;
    let redis_url = format!("redis://{}/0", redis.address);
    let lines = include_str!("../../config/tests/fixtures/document.env").lines().filter(|line| !line.starts_with('#'));
    let variables: Vec<_> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| match name {
            "MCP_SERVER_PORT" | "METRICS_PORT" => (name, "0"),
            "REDIS_URL" => (name, redis_url.as_str()),
            _ => (name, value),
        })
        .collect();
    let runtime = Runtime::start_with(&file, None, &variables).await;
    let answer = runtime.until(runtime.mcp, "/health", |answer| answer.json()["checks"]["redis"] == "ok").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    let mcp = request("GET", runtime.mcp, "/mcp").header("host", "mcp.example.com");
    let answer = send(mcp.body(http_body_util::Full::default()).unwrap()).await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("https://mcp.example.com/.well-known/oauth-protected-resource"), "{challenge}");
    assert!(get(runtime.management, "/metrics").await.body.contains("endpoint=\"my-mcp-server\""));
    assert!(std::fs::read_to_string(log.path().join("mcp-server.log")).unwrap().contains("serving"));
}

#[tokio::test]
async fn an_open_address_without_names_is_warned_about() {
    let output = run(&["--check"], &[], Some("server: {host: 0.0.0.0}\nauth: {anonymous: allow}\n")).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("http.public_urls: it is empty"));
}

#[tokio::test]
async fn the_schema_is_printed() {
    let output = run(&["schema"], &[], None).await;
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["server"].is_object());
}

#[tokio::test]
async fn healthcheck_asks_the_running_server() {
    let runtime = Runtime::start(PORTS).await;
    let port = runtime.mcp.port().to_string();
    let output = run(&["healthcheck"], &[("MCP_SERVER_PORT", &port)], None).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    drop(runtime);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let output = run(&["healthcheck"], &[("MCP_SERVER_PORT", &port)], None).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot ask"));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = run(&[], &[], Some(&format!("server: {{port: {port}}}\nmetrics: {{port: 0}}\n"))).await;
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains(&format!("cannot listen at 127.0.0.1:{port} (server.port)")), "{message}");
}

#[tokio::test]
async fn the_environment_configures_a_runtime_that_runs_alone() {
    let mut runtime = Runtime::start_with(PORTS, None, &[("MCP_SERVER_NAME", "from-outside")]).await;
    let serving = runtime.line("serving").await;
    assert_eq!(serving["name"], "from-outside");
}
