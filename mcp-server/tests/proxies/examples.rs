//! What the examples say that no test can wait for, and the compose file, as text.

use mcp_server_config::{Environment, check_together, parse_boot};
use serde_json::Value;

use crate::proxy::{Kind, example};

#[test]
fn a_stream_may_be_silent_for_an_hour() {
    assert!(example(Kind::Nginx).contains("proxy_read_timeout 3600s;"));
    assert!(example(Kind::Caddy).contains("read_timeout 3600s"));
    let haproxy = example(Kind::Haproxy);
    assert!(haproxy.contains("timeout server 3600s") && haproxy.contains("timeout client 3600s"));
}

#[test]
fn no_proxy_keeps_connections_for_longer_than_the_server() {
    let server = mcp_server_config::Server::default().idle_timeout_seconds();
    assert!(server > 60);
    assert!(example(Kind::Nginx).contains("keepalive_timeout 60s;"));
    assert!(example(Kind::Caddy).contains("keepalive 60s"));
    assert!(example(Kind::Haproxy).contains("pool-purge-delay 60s"));
}

/// As compose would start it: the file beside it, and its variables.
#[test]
fn the_compose_file_starts_a_server_that_its_health_check_can_ask() {
    let compose: Value = serde_saphyr::from_str(include_str!("../../../examples/compose/compose.yaml")).unwrap();
    let server = &compose["services"]["mcp-server"];
    assert_eq!(server["ports"][0], "127.0.0.1:8000:8000");
    assert_eq!(server["build"]["dockerfile"], "Dockerfile.server");
    assert_eq!(server["command"][0], "--config");
    let file = server["command"][1].as_str().unwrap();
    assert_eq!(server["volumes"][0], format!("./config.yaml:{file}:ro"));
    let check: Vec<_> =
        server["healthcheck"]["test"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(check, ["CMD", "/mcp-server", "healthcheck", "--config", file]);

    let variables: Vec<_> =
        server["environment"].as_array().unwrap().iter().filter_map(|it| it.as_str()?.split_once('=')).collect();
    let mut config = parse_boot(include_str!("../../../examples/compose/config.yaml")).unwrap();
    let mut live = config.live();
    let environment = Environment::read(|name| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    });
    let environment = environment.unwrap();
    environment.apply(&mut config).unwrap();
    environment.apply_live(&mut live).unwrap();
    check_together(&config, &live, false).unwrap();
    assert_eq!(config.mcp_port(), 8000);
    assert_eq!(config.redis.unwrap().url.as_deref(), Some("redis://redis:6379"));
    assert!(compose["services"]["redis"]["image"].is_string());
    assert_eq!(live.auth.unwrap().issuers[0].url, "https://auth.example.com");
    // Docker must not kill what the drain still waits for.
    let patience: u32 = server["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!(patience > config.drain.grace_seconds + config.drain.timeout_seconds + 3);
}
