//! The examples are right, and examples/mcpserver.yaml is complete.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod support;

use std::collections::BTreeSet;

use kube_cel::{RootContext, Validator};
use mcp_crds::McpServer;
use serde_json::Value;
use support::{for_each_field, is_kubernetes_own, repository, schema};

fn servers(example: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(repository("examples").join(example)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// Whether the API server takes them as well is tested by e2e/tests/crd.rs.
#[test]
fn every_example_is_accepted() {
    let schema = schema();
    let root = RootContext {
        api_version: "mcp-operator.dev/v1alpha1".into(),
        api_group: "mcp-operator.dev".into(),
        kind: "McpServer".into(),
    };
    for example in ["quickstart.yaml", "production.yaml", "container.yaml", "mcpserver.yaml"] {
        for server in servers(example) {
            let result = Validator::new().validate_with_context(&schema, &server, None, Some(&root));
            assert!(result.is_ok(), "{example}: {result:?}");
            serde_json::from_value::<McpServer>(server).unwrap();
        }
    }
}

#[test]
fn the_example_of_every_field_has_every_field() {
    let mut written = BTreeSet::new();
    for server in servers("mcpserver.yaml") {
        paths("", &server, &mut written);
    }
    let mut missing = Vec::new();
    for_each_field(&schema(), &mut |path, _| {
        if path.starts_with("spec") && !is_kubernetes_own(path) && !written.contains(path) {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, [""; 0]);
}

/// Paths in the notation of [`for_each_field`].
fn paths(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                paths(&path, value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(&format!("{path}[]"), item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_quickstart_is_short() {
    let text = std::fs::read_to_string(repository("examples/quickstart.yaml")).unwrap();
    assert!(text.lines().count() <= 12);
}
