//! `server("demo").exposed("mcp.example.com").protected_by("https://auth.example.com")`: servers as the API server hands
//! them out, with the schema's defaults. Knows only the API types, so that unit tests can include this file too.

use std::ops::Deref;

use mcp_crds::{McpServer, McpServerSpec};
use serde_json::{Value, json};

/// Namespace of all fixtures.
pub const NAMESPACE: &str = "team-a";
/// UID of all fixtures.
pub const UID: &str = "6a1f0e5c-3b52-4c0d-9a63-1d2b8f1e7c44";

/// An `McpServer` under construction.
#[derive(Clone, Debug)]
pub struct Fixture(McpServer);

/// A server with the builtin backend and every default.
pub fn server(name: &str) -> Fixture {
    stored(name, parse(json!({"backend": {"builtin": {}}})))
}

/// A server with this spec, as the API server has stored it.
pub fn stored(name: &str, spec: McpServerSpec) -> Fixture {
    let mut server = McpServer::new(name, spec);
    server.metadata.namespace = Some(NAMESPACE.to_owned());
    server.metadata.uid = Some(UID.to_owned());
    server.metadata.generation = Some(1);
    server.metadata.resource_version = Some("1".to_owned());
    Fixture(server)
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Fixture {
    pub fn build(self) -> McpServer {
        self.0
    }

    pub fn container(mut self, image: &str) -> Self {
        self.0.spec.backend = parse(json!({"container": {"image": image}}));
        self
    }

    pub fn replicas(mut self, replicas: i32) -> Self {
        self.0.spec.replicas = replicas;
        self
    }

    pub fn autoscaled(mut self, fewest: i32, most: i32) -> Self {
        self.0.spec.autoscaling = Some(parse(json!({"minReplicas": fewest, "maxReplicas": most})));
        self
    }

    /// By plain HTTP, to everybody, unless said otherwise.
    pub fn exposed(mut self, host: &str) -> Self {
        self.0.spec.expose = Some(parse(json!({"hosts": [host]})));
        if self.0.spec.auth.is_none() {
            return self.anonymous();
        }
        self
    }

    pub fn with_tls(mut self, secret: &str) -> Self {
        self.0.spec.expose.as_mut().unwrap().tls = Some(parse(json!({"secretName": secret})));
        self
    }

    /// Of the pods themselves.
    pub fn with_inner_tls(mut self, secret: &str) -> Self {
        self.0.spec.tls = Some(parse(json!({"secretName": secret})));
        self
    }

    pub fn anonymous(mut self) -> Self {
        self.0.spec.auth = Some(parse(json!({"anonymous": "Allow"})));
        self
    }

    pub fn protected_by(mut self, issuer: &str) -> Self {
        self.0.spec.auth = Some(parse(json!({"issuers": [{"url": issuer}]})));
        self
    }

    pub fn with_redis(mut self, secret: &str, key: &str) -> Self {
        self.0.spec.redis = Some(parse(json!({"urlSecretRef": {"name": secret, "key": key}})));
        self
    }

    /// Whatever has no word of its own.
    pub fn with(mut self, change: impl FnOnce(&mut McpServerSpec)) -> Self {
        change(&mut self.0.spec);
        self
    }
}

impl Deref for Fixture {
    type Target = McpServer;

    fn deref(&self) -> &McpServer {
        &self.0
    }
}
