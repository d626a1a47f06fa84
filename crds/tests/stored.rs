//! Within v1alpha1 fields are only added: what an earlier release stored stays readable and loses nothing. The files in
//! tests/stored are never changed, only added to: one for each release, as the API server stored examples/mcpserver.yaml.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod support;

use kube_cel::{RootContext, Validator};
use mcp_crds::McpServer;
use serde_json::{Value, json};
use support::{repository, schema};

#[test]
fn what_earlier_releases_stored_is_still_accepted_and_loses_nothing() {
    let schema = schema();
    let root = RootContext {
        api_version: "mcp-operator.dev/v1alpha1".into(),
        api_group: "mcp-operator.dev".into(),
        kind: "McpServer".into(),
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("crds/tests/stored")).unwrap() {
        let path = entry.unwrap().path();
        let stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(removed("spec", &schema["properties"]["spec"], &stored["spec"]), [""; 0], "{}", path.display());
        let result = Validator::new().validate_with_context(&schema, &stored, None, Some(&root));
        assert!(result.is_ok(), "{}: {result:?}", path.display());

        let typed: McpServer = serde_json::from_value(stored.clone()).unwrap();
        let again = serde_json::to_value(&typed).unwrap();
        assert_eq!(lost("spec", &stored["spec"], &again["spec"]), [""; 0], "{}", path.display());
        assert_eq!(lost("status", &stored["status"], &again["status"]), [""; 0], "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}

/// Fields of `value` that the schema does not have.
fn removed(path: &str, schema: &Value, value: &Value) -> Vec<String> {
    let below = |name: &str, value: &Value| {
        let path = format!("{path}.{name}");
        match &schema["properties"][name] {
            Value::Null if schema["additionalProperties"].is_object() => Vec::new(),
            Value::Null => vec![path],
            field => removed(&path, field, value),
        }
    };
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(name, value)| below(name, value)).collect(),
        Value::Array(items) => items.iter().flat_map(|item| removed(path, &schema["items"], item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Fields of `before` that `after` has not, or has with another value. That defaults were added is fine.
fn lost(path: &str, before: &Value, after: &Value) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .flat_map(|(name, value)| lost(&format!("{path}.{name}"), value, after.get(name).unwrap_or(&json!(null))))
            .collect(),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            before.iter().zip(after).flat_map(|(before, after)| lost(path, before, after)).collect()
        }
        // A quantity may be written as a number and is kept as text.
        (Value::Number(before), Value::String(after)) if before.to_string() == *after => Vec::new(),
        _ if before == after => Vec::new(),
        _ => vec![format!("{path}: {before} became {after}")],
    }
}
