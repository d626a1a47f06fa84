//! The committed definition and the chart's copy are what the Rust types say.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod support;

use support::{check_or_update, definition};

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
