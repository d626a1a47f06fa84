//! The definition's rules (CEL), evaluated without a cluster: fast feedback while a rule is written. That a real API
//! server sees them in the same way, and what the schema itself refuses, is tested by e2e/tests/crd.rs with the same table.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod support;

use kube_cel::{RootContext, Validator};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{repository, schema};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    accepted: Vec<Case>,
    refused: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    #[serde(default = "a_name")]
    name: String,
    spec: Value,
    message: Option<String>,
    by: Option<String>,
}

fn a_name() -> String {
    "demo".to_owned()
}

fn table() -> Table {
    serde_saphyr::from_str(&std::fs::read_to_string(repository("crds/tests/rules.yaml")).unwrap()).unwrap()
}

/// The messages of the rules that refuse a server.
fn refusals(schema: &Value, case: &Case) -> Vec<String> {
    let mut object = json!({"metadata": {"name": case.name}, "spec": case.spec});
    drop_nulls(&mut object);
    let root = RootContext {
        api_version: "mcp-operator.dev/v1alpha1".into(),
        api_group: "mcp-operator.dev".into(),
        kind: "McpServer".into(),
    };
    let result = Validator::new().validate_with_context(schema, &object, None, Some(&root));
    result.err().into_iter().flat_map(|errors| errors.into_vec()).map(|error| error.message).collect()
}

/// The API server does so before it validates; the definition has nothing nullable.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(object) = value {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(drop_nulls);
    }
}

#[test]
fn what_is_right_is_accepted() {
    let schema = schema();
    for case in table().accepted {
        assert_eq!(refusals(&schema, &case), [""; 0], "{}", case.case);
    }
}

#[test]
fn what_is_wrong_is_refused_with_a_remedy() {
    let schema = schema();
    for case in table().refused.iter().filter(|case| case.by.is_none()) {
        let message = case.message.as_deref().expect("a refused case has a message");
        let refusals = refusals(&schema, case);
        assert!(refusals.iter().any(|refusal| refusal.contains(message)), "{}: {refusals:?}", case.case);
    }
}

/// A rule nobody tests is a rule nobody knows to work.
#[test]
fn every_rule_has_a_case_that_it_refuses() {
    let cases = table().refused;
    let mut untested = Vec::new();
    let mut check = |path: &str, field: &Value| {
        for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap();
            if !cases.iter().filter_map(|case| case.message.as_deref()).any(|tested| message.contains(tested)) {
                untested.push(format!("{path}: {message}"));
            }
        }
    };
    check("", &schema());
    support::for_each_field(&schema(), &mut check);
    assert_eq!(untested, [""; 0]);
}
