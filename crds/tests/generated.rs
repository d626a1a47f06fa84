//! The committed definition and the chart's copy are what the Rust types say.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod support;

use serde_json::Value;
use support::{check_or_update, definition, for_each_field, is_kubernetes_own, schema};

#[test]
fn the_reference_is_current() {
    check_or_update("docs/reference.md", &reference());
}

/// Every field of our own, with what it may be.
fn reference() -> String {
    let mut page = String::from(REFERENCE);
    let mut section = String::new();
    for_each_field(&schema(), &mut |path, field| {
        if is_kubernetes_own(path) || !(path.starts_with("spec.") || path.starts_with("status.")) {
            return;
        }
        let top: String = path.split(['.', '[', '{']).take(2).collect::<Vec<_>>().join(".");
        if top != section {
            page.push_str(&format!("\n## {top}\n\n| Field | Type | Default | Meaning |\n| --- | --- | --- | --- |\n"));
            section = top;
        }
        let default = match &field["default"] {
            Value::Null | Value::Object(_) => String::new(),
            value => format!("`{}`", value.to_string().trim_matches('"')),
        };
        page.push_str(&format!("| `{path}` | {} | {default} | {} |\n", kind(field), meaning(field)));
    });
    page
}

const REFERENCE: &str = "<!-- Generated from the Rust types in crds/src: UPDATE=1 cargo test -p mcp-crds -->

# McpServer

Every field of `mcp-operator.dev/v1alpha1`, as `kubectl explain mcpserver` has it; an example with all of them is
[mcpserver.yaml](../examples/mcpserver.yaml). `[]` is each item of a list, `{}` each value of a map. What is inside of
Kubernetes' own types (`env`, `affinity`, volumes) is in Kubernetes' documentation. A default that depends on something
else is in the text.
";

fn kind(field: &Value) -> String {
    let bounds = match (&field["minimum"], &field["maximum"]) {
        (Value::Number(least), Value::Number(most)) => format!(" {least} to {most}"),
        (Value::Number(least), _) => format!(" from {least}"),
        _ => String::new(),
    };
    match field["enum"].as_array() {
        Some(values) => {
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
        }
        None if field["x-kubernetes-int-or-string"] == true => "number or text".to_owned(),
        None if field["type"] == "array" => "list".to_owned(),
        None if field["additionalProperties"].is_object() => "map".to_owned(),
        None => format!("{}{bounds}", field["type"].as_str().unwrap_or_default()),
    }
}

/// The documentation, and what the rules say when they refuse.
fn meaning(field: &Value) -> String {
    let text = field["description"].as_str().unwrap_or_default();
    // A type's own description begins a second paragraph.
    let text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    let rules = field["x-kubernetes-validations"].as_array().into_iter().flatten();
    let rules: Vec<_> = rules
        .filter_map(|rule| rule["message"].as_str())
        .map(|rule| format!(" *{}.*", rule.replace('|', "\\|")))
        .collect();
    format!("{text}{}", rules.concat())
}

/// Long lines stay whole: a regular expression is one word to a reader, and `grep` finds messages.
fn yaml() -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&definition(), options).unwrap()
}

#[test]
fn the_committed_definition_is_current() {
    let text = format!("# Generated from the Rust types in crds/src: UPDATE=1 cargo test -p mcp-crds\n{}", yaml());
    check_or_update("crds/mcpservers.yaml", &text);
}

#[test]
fn the_chart_ships_the_same_definition() {
    check_or_update("charts/mcp-operator/templates/crds/mcpservers.yaml", &template(&yaml()));
}

/// The definition with what the chart's values add to its metadata.
fn template(yaml: &str) -> String {
    const PLAIN: &str = "metadata:\n  name: mcpservers.mcp-operator.dev\n";
    const TEMPLATED: &str = r#"metadata:
  name: mcpservers.mcp-operator.dev
  labels:
    {{- include "mcp-operator.labels" . | nindent 4 }}
  {{- with include "mcp-operator.crdAnnotations" . }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
"#;
    assert!(!yaml.contains("{{"), "Helm would take this for a template");
    assert!(yaml.contains(PLAIN));
    format!(
        "{{{{- /* Generated from the Rust types in crds/src: UPDATE=1 cargo test -p mcp-crds */}}}}\n\
         {{{{- if .Values.crds.enabled }}}}\n{}{{{{- end }}}}\n",
        yaml.replacen(PLAIN, TEMPLATED, 1)
    )
}

/// `kubectl apply` keeps the whole object in an annotation, which may have 256 KiB.
#[test]
fn the_definition_fits_into_the_annotation_of_kubectl_apply() {
    let size = serde_json::to_string(&definition()).unwrap().len();
    assert!(size < 256 * 1024, "{size} bytes");
}
