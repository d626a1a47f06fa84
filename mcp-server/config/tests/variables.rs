//! The environment variables of the deployment document.
#![allow(clippy::unwrap_used)]

use mcp_server_config::{Config, Environment, Invalid, Live, LogFormat, LogLevel, check_together, parse_boot};

fn environment(variables: &[(&str, &str)]) -> Result<Environment, Invalid> {
    Environment::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn applied(file: &str, variables: &[(&str, &str)]) -> Result<(Config, Live, Vec<String>), Invalid> {
    let environment = environment(variables)?;
    let mut config = parse_boot(file)?;
    let mut live = config.live();
    environment.apply(&mut config)?;
    environment.apply_live(&mut live)?;
    Ok((config, live, environment.warnings().to_vec()))
}

#[test]
fn every_variable_of_the_document_has_its_effect() {
    let (config, live, warnings) = applied(
        "server: {name: file, port: 1}\nredis: {url_file: /f}\n",
        &[
            ("MCP_SERVER_NAME", "my-mcp-server"),
            ("MCP_SERVER_HOST", "0.0.0.0"),
            ("MCP_SERVER_PORT", "8080"),
            ("MCP_TRANSPORT", "streamable-http"),
            ("AUTH_SERVER_URL", "https://auth.internal:8443"),
            ("AUTH_ISSUER_URL", "https://auth.example.com/"),
            ("RESOURCE_SERVER_URL", "https://mcp.example.com"),
            ("REQUIRED_SCOPES", "user,read"),
            ("DATABASE_URL", "postgresql://user:pass@localhost:5432/mcp"),
            ("DB_POOL_SIZE", "7"),
            ("DB_MAX_OVERFLOW", "3"),
            ("REDIS_URL", "redis://localhost:6379/0"),
            ("REDIS_MAX_CONNECTIONS", "7"),
            ("LOG_LEVEL", "debug"),
            ("LOG_FORMAT", "TEXT"),
            ("ALLOWED_ORIGINS", "https://chatgpt.com, https://claude.ai"),
            ("CORS_MAX_AGE", "60"),
            ("METRICS_ENABLED", "false"),
            ("METRICS_PORT", "9999"),
        ],
    )
    .unwrap();

    assert_eq!(config.server.name, "my-mcp-server");
    assert_eq!(config.server.host.to_string(), "0.0.0.0");
    assert_eq!(config.server.port, Some(8080));
    let database = config.database.unwrap();
    assert_eq!(database.url.as_deref(), Some("postgresql://user:pass@localhost:5432/mcp"));
    assert_eq!((database.pool_size, database.max_overflow, database.echo), (7, 3, false));
    let redis = config.redis.unwrap();
    assert_eq!(redis.url.as_deref(), Some("redis://localhost:6379/0"));
    assert_eq!((redis.url_file, redis.max_connections), (None, 7));
    assert_eq!((config.logging.level, config.logging.format), (LogLevel::Debug, LogFormat::Text));
    assert_eq!((config.metrics.enabled, config.metrics.port), (false, 9999));

    let auth = live.auth.unwrap();
    assert_eq!(auth.issuers.len(), 1);
    assert_eq!(auth.issuers[0].url, "https://auth.example.com/");
    assert_eq!(auth.issuers[0].server_url.as_ref().unwrap().as_str(), "https://auth.internal:8443/");
    assert_eq!(auth.resource_server_url.unwrap().as_str(), "https://mcp.example.com/");
    assert_eq!(auth.required_scopes, ["user", "read"]);
    assert_eq!(live.cors.allowed_origins, ["https://chatgpt.com", "https://claude.ai"]);
    assert_eq!(live.cors.max_age, 60);
    assert_eq!(live.log_level, Some(LogLevel::Debug));

    assert_eq!(warnings, [""; 0]);
}

#[test]
fn the_collector_of_opentelemetry_is_found_where_it_is_always_said() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
    let (config, _, _) = applied("", &variables).unwrap();
    assert_eq!(config.otel.unwrap().endpoint.as_str(), "http://collector:4318/");
    let (config, _, _) = applied("otel: {endpoint: 'http://other', sample_ratio: 0.5}\n", &variables).unwrap();
    let otel = config.otel.unwrap();
    assert_eq!((otel.endpoint.as_str(), otel.sample_ratio), ("http://collector:4318/", 0.5));
}

#[test]
fn a_variable_without_what_it_is_for_is_warned_about() {
    let (_, _, warnings) =
        applied("", &[("DB_POOL_SIZE", "1"), ("DB_MAX_OVERFLOW", "1"), ("REDIS_MAX_CONNECTIONS", "1")]).unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

/// Word for word, over the document's file.
#[test]
fn the_documents_own_variables_and_its_file_go_together() {
    let lines = include_str!("fixtures/document.env").lines().filter(|line| !line.starts_with('#'));
    let variables: Vec<_> = lines.filter_map(|line| line.split_once('=')).collect();
    assert_eq!(variables.len(), 19);
    for file in ["", include_str!("fixtures/document.yaml")] {
        let (config, live, _) = applied(file, &variables).unwrap();
        check_together(&config, &live, false).unwrap();
        assert_eq!((config.server.name.as_str(), config.mcp_port()), ("my-mcp-server", 8000));
        let auth = live.auth.unwrap();
        assert_eq!(auth.issuers.len(), 1);
        assert_eq!((auth.issuers[0].url.as_str(), &auth.issuers[0].server_url), ("https://auth.example.com", &None));
        assert_eq!(auth.required_scopes, ["user", "read"]);
        assert_eq!(config.redis.unwrap().max_connections, 50);
        assert_eq!(live.cors.allowed_origins, ["https://chatgpt.com", "https://claude.ai"]);
    }
}

#[test]
fn either_url_alone_names_the_issuer() {
    for name in ["AUTH_SERVER_URL", "AUTH_ISSUER_URL"] {
        let (_, live, _) = applied("", &[(name, "https://auth.example.com")]).unwrap();
        let issuers = live.auth.unwrap().issuers;
        assert_eq!((issuers.len(), issuers[0].url.as_str()), (1, "https://auth.example.com"), "{name}");
        assert_eq!(issuers[0].server_url, None, "{name}");
    }
}

#[test]
fn the_files_issuer_keeps_what_the_variable_does_not_say() {
    let file = "auth: {issuers: [{url: 'https://a.example.com', audiences: [x], ca_file: /ca.crt}]}\n";
    let (_, live, _) = applied(file, &[("AUTH_SERVER_URL", "https://b.example.com")]).unwrap();
    let issuer = live.auth.unwrap().issuers.pop().unwrap();
    assert_eq!(issuer.url, "https://a.example.com");
    assert_eq!(issuer.server_url.unwrap().as_str(), "https://b.example.com/");
    assert_eq!(issuer.audiences, ["x"]);
}

#[test]
fn empty_variables_say_nothing() {
    let (config, live, warnings) =
        applied("", &[("MCP_SERVER_PORT", ""), ("LOG_LEVEL", " "), ("REDIS_URL", "")]).unwrap();
    assert_eq!((config, warnings.len()), (Config::default(), 0));
    assert_eq!(live.auth, None);
}

#[test]
fn a_bad_value_names_its_variable() {
    let bad = [
        ("MCP_SERVER_PORT", "eighty"),
        ("MCP_SERVER_HOST", "localhost"),
        ("MCP_TRANSPORT", "sse"),
        ("AUTH_SERVER_URL", "auth.example.com"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("METRICS_ENABLED", "maybe"),
        ("CORS_MAX_AGE", "-1"),
    ];
    for (name, value) in bad {
        let Invalid(message) = environment(&[(name, value)]).unwrap_err();
        assert!(message.starts_with(name), "{message}");
    }
}

#[test]
fn what_the_variables_make_is_checked() {
    let Invalid(message) = applied("", &[("METRICS_PORT", "8000")]).unwrap_err();
    assert!(message.contains("metrics.port") && message.contains("environment"), "{message}");
    let Invalid(message) = applied("", &[("REQUIRED_SCOPES", "read")]).unwrap_err();
    assert!(message.contains("no issuer is named"), "{message}");
    let two = "auth: {issuers: [{url: 'https://a.example.com'}, {url: 'https://b.example.com'}]}\n";
    let Invalid(message) = applied(two, &[("AUTH_ISSUER_URL", "https://c.example.com")]).unwrap_err();
    assert!(message.contains("AUTH_ISSUER_URL"), "{message}");
}

#[test]
fn no_secret_is_shown_by_debug() {
    let variables =
        [("REDIS_URL", "redis://:hunter2@localhost"), ("DATABASE_URL", "postgresql://u:hunter2@localhost/d")];
    assert!(!format!("{:?}", environment(&variables).unwrap()).contains("hunter2"));
    let (config, _, _) = applied("", &variables).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
