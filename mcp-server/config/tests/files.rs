//! Files that are accepted, and the words with which others are refused.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use mcp_server_config::{
    Anonymous, Backend, CipherFamily, Config, Handler, Invalid, Live, LogLevel, TlsVersion, check_together, digest,
    parse_boot, parse_live,
};

#[test]
fn the_documents_example_is_accepted() {
    let config = parse_boot(include_str!("fixtures/document.yaml")).unwrap();

    assert_eq!(config.server.name, "my-mcp-server");
    let database = config.database.as_ref().unwrap();
    assert_eq!((database.pool_size, database.max_overflow, database.echo), (20, 10, false));
    assert_eq!(config.logging.handlers.len(), 2);
    assert!(matches!(&config.logging.handlers[1], Handler::File { filename } if filename.ends_with("mcp-server.log")));
    let live = config.live();
    assert_eq!(live.auth.as_ref().unwrap().issuer_url.as_deref(), Some("https://auth.example.com"));
    assert_eq!(live.cors.allowed_methods, ["GET", "POST"]);
    assert_eq!(live.log_level, Some(LogLevel::Info));
    check_together(&config, &live, false).unwrap();
}

#[test]
fn nothing_at_all_is_the_builtin_backend_at_loopback() {
    for text in ["", "\n# only a comment\n", "{}"] {
        let config = parse_boot(text).unwrap();
        assert_eq!(config, Config::default());
        assert!(matches!(config.backend, Backend::Builtin(_)));
        check_together(&config, &config.live(), false).unwrap();
    }
}

#[test]
fn refused_boot_files_are_explained() {
    let files = [
        ("typo", "server:\n  name: a\n  prot: 80\n"),
        ("typo of a section", "sever: {}\n"),
        ("unknown key", "server:\n  colour: blue\n"),
        ("database of another kind", "database: {url: 'mysql://user:secret@localhost/mcp'}\n"),
        ("database dialect", "database: {url: 'postgresql+asyncpg://user:secret@localhost/mcp'}\n"),
        ("database no URL", "database: {url: 'user:secret@localhost/mcp'}\n"),
        ("database twice", "database: {url: 'sqlite:/a', url_file: /f}\n"),
        ("database without url", "database: {pool_size: 1}\n"),
        ("database pool", "database: {url: 'sqlite:/a', pool_size: 0}\n"),
        ("database overflow", "database: {url: 'sqlite:/a', max_overflow: 4294967295}\n"),
        ("transport", "server:\n  transport: sse\n"),
        ("level", "logging:\n  level: VERBOSE\n"),
        ("backend", "backend:\n  contianer: {url: 'http://127.0.0.1:1/mcp'}\n"),
        ("backend without url", "backend:\n  container: {}\n"),
        ("backend URL", "backend:\n  container: {url: 'http://user:secret@127.0.0.1:99999/mcp'}\n"),
        ("backend scheme", "backend:\n  container: {url: 'ftp://127.0.0.1/mcp'}\n"),
        ("handler", "logging:\n  handlers: [{type: syslog}]\n"),
        ("type", "server:\n  port: eighty\n"),
        ("port too large", "server:\n  port: 80000\n"),
        ("host", "server:\n  host: localhost\n"),
        ("syntax", "server: [\n"),
        ("duplicate", "server: {}\nserver: {}\n"),
        ("newer format", "formatVersion: 2\nserver: {shape: round}\n"),
        ("path without slash", "server: {path: mcp}\n"),
        ("path with slash at the end", "server: {path: /mcp/}\n"),
        ("path with a template", "server: {path: '/{mcp}'}\n"),
        ("path taken", "server: {path: /health}\n"),
        ("path under well-known", "server: {path: /.well-known/mcp}\n"),
        ("tls without key", "tls: {cert_file: /c}\n"),
        ("tls version", "tls: {cert_file: /c, key_file: /k, min_version: '1.1'}\n"),
        ("tls client_auth", "tls: {cert_file: /c, key_file: /k, client_auth: required}\n"),
        ("tls DHE in a list", "tls: {cert_file: /c, key_file: /k, ciphers: [ECDHE+AESGCM, DHE+AESGCM]}\n"),
        ("tls DHE alone", "tls: {cert_file: /c, key_file: /k, ciphers: 'DHE+AESGCM:!aNULL'}\n"),
        ("tls cipher", "tls: {cert_file: /c, key_file: /k, ciphers: HIGH}\n"),
        ("tls no cipher", "tls: {cert_file: /c, key_file: /k, ciphers: []}\n"),
        (
            "tls ciphers of 1.2 for 1.3",
            "tls: {cert_file: /c, key_file: /k, min_version: '1.3', ciphers: ECDHE+AESGCM}\n",
        ),
        ("tls empty file", "tls: {cert_file: '', key_file: /k}\n"),
        ("tls port collides", "tls: {cert_file: /c, key_file: /k}\nmetrics: {port: 8443}\n"),
        ("no connections", "server: {max_connections: 0}\n"),
        ("ports collide", "server: {port: 9090}\n"),
        ("metrics path taken", "metrics: {path: /readyz}\n"),
        ("redis twice", "redis: {url: 'redis://:secret@r', url_file: /f}\n"),
        ("redis without url", "redis: {}\n"),
        ("redis scheme", "redis: {url: 'http://:secret@r'}\n"),
        (
            "redis sentinel and cluster",
            "redis: {sentinel: {master: m, urls: [redis://s]}, cluster: {urls: [redis://c]}}\n",
        ),
        ("redis sentinel without a name", "redis: {sentinel: {master: '', urls: [redis://s]}}\n"),
        ("redis sentinel without sentinels", "redis: {sentinel: {master: m, urls: []}}\n"),
        ("redis cluster scheme", "redis: {cluster: {urls: [redis://c, 'http://:secret@c']}}\n"),
        ("redis cluster half with TLS", "redis: {cluster: {urls: [redis://c, rediss://c]}}\n"),
        ("redis user without password", "redis: {url: 'redis://r', username: u}\n"),
        ("redis authority without TLS", "redis: {url: 'redis://r', ca_file: /ca}\n"),
        ("redis certificate without key", "redis: {url: 'rediss://r', client_certificate_file: /c}\n"),
        ("redis store without redis", "sessions: {store: redis}\n"),
        ("no sessions of a principal", "sessions: {max_per_principal: 0}\n"),
        ("issuer twice", "auth: {issuer_url: 'https://a', issuers: [{url: 'https://b'}]}\n"),
        ("same issuer twice", "auth: {issuers: [{url: 'https://a'}, {url: 'https://a'}]}\n"),
        ("no issuer", "auth: {required_scopes: [read]}\n"),
        ("issuer no URL", "auth: {issuer_url: auth.example.com}\n"),
        ("issuer with password", "auth: {issuer_url: 'https://user:secret@auth.example.com'}\n"),
        ("issuer without TLS", "auth: {issuer_url: 'http://auth.example.com'}\n"),
        ("keys without TLS", "auth: {issuers: [{url: 'https://a', jwks_url: 'http://a.example.com/k'}]}\n"),
        (
            "introspection without client",
            "auth: {issuers: [{url: 'https://a', introspection: {client_id: '', client_secret_file: /f}}]}\n",
        ),
        ("scope with space", "auth: {issuer_url: 'https://a', required_scopes: ['user read']}\n"),
        ("tool scopes without tools", "auth: {issuer_url: 'https://a', tool_scopes: [{tools: [], scopes: [a]}]}\n"),
        ("tool scopes without scopes", "auth: {issuer_url: 'https://a', tool_scopes: [{tools: ['*'], scopes: []}]}\n"),
        ("tool scopes without issuer", "auth: {anonymous: allow, tool_scopes: [{tools: ['*'], scopes: [a]}]}\n"),
        ("method with space", "auth: {issuer_url: 'https://a', method_scopes: [{methods: ['a b'], scopes: [a]}]}\n"),
        ("scope in a circle", "auth: {issuer_url: 'https://a', scope_hierarchy: {a: [b], b: [c], c: [a]}}\n"),
        ("included scope", "auth: {issuer_url: 'https://a', scope_hierarchy: {a: ['b c']}}\n"),
        ("no tool allowed", "tools: {allow: []}\n"),
        ("tool without name", "tools: {deny: ['']}\n"),
        ("public URL with path", "http: {public_urls: ['https://mcp.example.com/mcp']}\n"),
        ("public URL with password", "http: {public_urls: ['https://user:secret@mcp.example.com']}\n"),
        ("proxy", "http: {trusted_proxies: [10.0.0.300/8]}\n"),
        ("no requests", "rate_limits: {per_principal: {requests: 0}}\n"),
        ("principal's period", "rate_limits: {per_principal: {requests: 1, per_seconds: 0}}\n"),
        ("tool rule without tools", "rate_limits: {per_tool: [{tools: [], requests: 1}]}\n"),
        (
            "tool rule with an empty name",
            "rate_limits: {per_tool: [{tools: [a], requests: 1}, {tools: [''], requests: 1}]}\n",
        ),
        ("tool rule's burst", "rate_limits: {per_tool: [{tools: [a], requests: 1, burst: 0}]}\n"),
        ("no calls at once", "rate_limits: {concurrent_calls_per_principal: 0}\n"),
        ("period", "rate_limits: {per_client: {per_seconds: 0}}\n"),
        ("origin with slash", "cors: {allowed_origins: ['https://claude.ai/']}\n"),
        ("method", "cors: {allowed_methods: ['GET POST']}\n"),
        ("audit file", "audit: {handlers: [{type: file, filename: ''}]}\n"),
        ("collector", "otel: {endpoint: 'grpc://collector:4317'}\n"),
        ("collector with password", "otel: {endpoint: 'http://user:secret@collector:4318'}\n"),
        ("collector protocol", "otel: {endpoint: 'http://collector:4317', protocol: grpc}\n"),
        ("ratio", "otel: {endpoint: 'http://collector:4318', sample_ratio: 2}\n"),
        ("drain", "drain: {timeout_seconds: 100000}\n"),
        ("no address", "peers: {advertise: '0.0.0.0:9090'}\n"),
    ];

    let mut messages = String::new();
    for (name, text) in files {
        let Invalid(message) = parse_boot(text).expect_err(name);
        assert!(!message.contains("secret") && !message.contains("user:"), "{name}: {message}");
        writeln!(messages, "{name}: {message}").unwrap();
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn a_live_file_with_unknown_keys_is_used_without_them() {
    let text = "
formatVersion: 1
auth:
  anonymous: deny
  issuers:
    - url: https://auth.example.com
      colour: blue
tracing: {sample: 1}
rate_limits: {per_client: {requests: 7, per_seconds: 60, count: failures, shape: round}}
";
    let (live, unknown) = parse_live(text).unwrap();

    let paths: Vec<_> = unknown.iter().map(|key| key.0.as_str()).collect();
    assert_eq!(paths, ["auth.issuers[0].colour", "rate_limits.per_client.shape", "tracing"]);
    assert_eq!(live.rate_limits.per_client.requests, 7);
    assert_eq!(live.auth.unwrap().issuers[0].url, "https://auth.example.com");
}

#[test]
fn a_live_file_is_checked_like_a_boot_file() {
    let Invalid(message) = parse_live("formatVersion: 1\nauth: {anonymous: deny}\nextra: 1\n").unwrap_err();
    assert!(message.contains("no issuer is named"), "{message}");
    let Invalid(message) = parse_live("formatVersion: 7\n").unwrap_err();
    assert!(message.contains("formatVersion: 7"), "{message}");
    let Invalid(message) = parse_live("formatVersion: 1\nlog_level: LOUD\n").unwrap_err();
    assert!(message.starts_with("line 2: unknown value `LOUD`"), "{message}");
    // Beside a key that is left out, where lines are no longer known.
    let Invalid(message) = parse_live("extra: 1\nauth: {anonymous: allow}\ncors: {max_age: secret}\n").unwrap_err();
    assert_eq!(message, "cors: expected a whole number from 0 to 4294967295");
}

#[test]
fn the_documents_ciphers_are_accepted_and_dhe_is_refused_with_the_reason() {
    let document = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!MD5:!DSS";
    // An unquoted 1.2 is a number for YAML.
    for version in ["1.2", "'1.2'"] {
        let text = format!("tls: {{cert_file: /c, key_file: /k, min_version: {version}, ciphers: '{document}'}}\n");
        let tls = parse_boot(&text).unwrap().tls.unwrap();
        assert_eq!(tls.min_version, TlsVersion::V1_2);
        assert_eq!(
            tls.families().unwrap().into_iter().collect::<Vec<_>>(),
            [CipherFamily::AesGcm, CipherFamily::ChaCha20]
        );
        let warnings = tls.warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("DHE+AESGCM and DHE+CHACHA20 is refused: the TLS library"), "{warnings:?}");
    }
    let tls = parse_boot("tls: {cert_file: /c, key_file: /k, ciphers: [ECDHE+CHACHA20]}\n").unwrap().tls.unwrap();
    assert_eq!(tls.families().unwrap().into_iter().collect::<Vec<_>>(), [CipherFamily::ChaCha20]);
    assert_eq!(tls.warnings().len(), 0);
}

#[test]
fn the_port_is_8443_with_tls_unless_it_is_written() {
    assert_eq!(parse_boot("").unwrap().mcp_port(), 8000);
    assert_eq!(parse_boot("tls: {cert_file: /c, key_file: /k}\n").unwrap().mcp_port(), 8443);
    assert_eq!(parse_boot("server: {port: 1}\ntls: {cert_file: /c, key_file: /k}\n").unwrap().mcp_port(), 1);
}

#[test]
fn an_open_address_needs_a_word_about_authentication() {
    let config = parse_boot("server: {host: 0.0.0.0}\n").unwrap();
    let Invalid(message) = check_together(&config, &config.live(), false).unwrap_err();
    assert!(message.contains("`auth: {anonymous: allow}`"), "{message}");

    let config = parse_boot("server: {host: 0.0.0.0}\nauth: {anonymous: allow}\n").unwrap();
    check_together(&config, &config.live(), false).unwrap();
    assert_eq!(config.auth.unwrap().anonymous, Anonymous::Allow);
}

#[test]
fn live_sections_in_the_boot_file_are_refused_beside_a_live_file() {
    for section in ["auth: {anonymous: allow}", "http: {}", "rate_limits: {}", "cors: {}", "tools: {}"] {
        let config = parse_boot(section).unwrap();
        let Invalid(message) = check_together(&config, &Live::default(), true).unwrap_err();
        assert!(message.starts_with(section.split(':').next().unwrap()), "{message}");
    }
}

#[test]
fn the_digest_names_the_bytes() {
    assert_eq!(digest(""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_ne!(digest("a: 1"), digest("a: 1\n"));
}

#[test]
fn the_schema_knows_every_section() {
    let schema = mcp_server_config::schema();
    let sections: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    for section in [
        "server", "tls", "backend", "redis", "database", "sessions", "metrics", "logging", "audit", "otel", "drain",
        "keys", "auth",
    ] {
        assert!(sections.contains(&section), "{section}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
