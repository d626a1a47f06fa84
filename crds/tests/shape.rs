//! What holds for every field of the definition.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod support;

use mcp_crds::McpServerSpec;
use serde_json::{Value, json};
use support::{definition, for_each_field, is_kubernetes_own, schema};

/// Our own fields that do not hold `rule`.
fn breaking(rule: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = 0;
    for_each_field(&schema(), &mut |path, field| {
        if is_kubernetes_own(path) {
            return;
        }
        seen += 1;
        if !rule(field) {
            found.push(path.to_owned());
        }
    });
    assert!(seen > 100, "only {seen} fields were seen: the walk is broken");
    found
}

#[test]
fn every_field_is_documented() {
    assert_eq!(breaking(|field| field["description"].as_str().is_some_and(|text| text.len() > 5)), [""; 0]);
}

#[test]
fn every_list_is_bounded_and_says_how_it_merges() {
    let bounded = |field: &Value| field["maxItems"].is_u64() && field["x-kubernetes-list-type"].is_string();
    assert_eq!(breaking(|field| field["type"] != "array" || bounded(field)), [""; 0]);
}

/// Unbounded text makes the API server assume megabytes, and refuse rules over it as too expensive.
#[test]
fn every_text_that_a_rule_reads_is_bounded() {
    let bounded = |field: &Value| field["maxLength"].is_u64() || field["enum"].is_array();
    let has_rule = |field: &Value| field["x-kubernetes-validations"].is_array();
    assert_eq!(breaking(|field| field["type"] != "string" || !has_rule(field) || bounded(field)), [""; 0]);
    assert_eq!(
        breaking(|field| field["type"] != "array" || !has_rule(field) || bounded(&field["items"])),
        [""; 0],
        "items"
    );
}

#[test]
fn every_map_is_bounded() {
    let bounded = |field: &Value| field["maxProperties"].is_u64();
    assert_eq!(breaking(|field| field["additionalProperties"].is_null() || bounded(field)), [""; 0]);
}

#[test]
fn every_rule_says_what_to_do() {
    let mut rules = 0;
    let mut check = |field: &Value| {
        for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            assert!(rule["message"].as_str().is_some_and(|message| message.len() > 20), "{rule}");
        }
    };
    check(&schema());
    for_each_field(&schema(), &mut |_, field| check(field));
    assert!(rules >= 25, "only {rules} rules were seen: the walk is broken");
}

#[test]
fn nothing_is_nullable_and_no_default_is_null() {
    let text = definition().to_string();
    assert!(!text.contains("\"nullable\""));
    assert!(!text.contains("\"default\":null"));
}

/// What users read with `kubectl get -o yaml` is what the operator works with.
#[test]
fn the_smallest_server_is_complete_by_defaults() {
    let spec = with_defaults(&json!({"backend": {"builtin": {}}}));
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["strategy"], "Auto");
    assert_eq!(spec["tools"], json!({"allow": ["*"]}));
    assert_eq!(spec["runtime"]["resources"]["requests"], json!({"cpu": "250m", "memory": "256Mi"}));
    assert_eq!(spec["runtime"]["resources"]["limits"], json!({"cpu": "500m", "memory": "512Mi"}));
    assert_eq!(spec["runtime"]["probes"]["liveness"]["initialDelaySeconds"], 30);
    assert_eq!(spec["runtime"]["probes"]["liveness"]["periodSeconds"], 10);
    assert_eq!(spec["runtime"]["probes"]["readiness"]["initialDelaySeconds"], 5);
    assert_eq!(spec["runtime"]["probes"]["readiness"]["periodSeconds"], 5);
    // What is given in part takes the rest from its own defaults, not from those of the other probe.
    let spec =
        with_defaults(&json!({"backend": {"builtin": {}}, "runtime": {"probes": {"liveness": {"periodSeconds": 60}}}}));
    assert_eq!(spec["runtime"]["probes"]["liveness"]["initialDelaySeconds"], 30);
    assert_eq!(spec["rateLimits"]["perClient"], json!({"requests": 100, "per": "1m"}));
    assert_eq!(spec["sessions"], json!({"idleTimeoutSeconds": 1800}));
    assert_eq!(spec["observability"]["metrics"], json!({"enabled": true, "path": "/metrics"}));
    assert_eq!(spec["networkPolicy"], json!({"enabled": true}));
    assert_eq!(spec["disruption"], json!({"drainSeconds": 30}));
    assert_eq!(spec["service"], json!({"type": "ClusterIP"}));
    assert_eq!(spec["suspend"], false);
}

/// Programs that read a manifest without an API server see the same server.
#[test]
fn the_defaults_of_the_schema_and_of_the_types_agree() {
    for spec in [
        json!({"backend": {"builtin": {}}}),
        json!({
            "backend": {"container": {"image": "a"}},
            "expose": {"hosts": ["a.example"], "tls": {"secretName": "a", "issuerRef": {"name": "a"}}},
            "auth": {"issuers": [{
                "url": "https://a.example",
                "introspection": {"clientId": "a", "clientSecretRef": {"name": "a", "key": "a"}}
            }]},
            "redis": {"urlSecretRef": {"name": "a", "key": "a"}},
            "tls": {"secretName": "b", "issuerRef": {"name": "a"}},
            "database": {"urlSecretRef": {"name": "a", "key": "a"}, "migrations": {}},
            "rateLimits": {"perPrincipal": {"requests": 1}, "perTool": [{"tools": ["a"], "requests": 1}]},
            "observability": {"otlp": {"endpoint": "http://a"}},
            "autoscaling": {"maxReplicas": 2},
            "cors": {},
            "runtime": {"probes": {"liveness": {}, "readiness": {"failureThreshold": 9}}},
        }),
    ] {
        let plain: McpServerSpec = serde_json::from_value(spec.clone()).unwrap();
        let defaulted: McpServerSpec = serde_json::from_value(with_defaults(&spec)).unwrap();
        assert_eq!(plain, defaulted);
    }
}

fn with_defaults(spec: &Value) -> Value {
    kube_cel::apply_defaults(&schema()["properties"]["spec"], spec)
}
