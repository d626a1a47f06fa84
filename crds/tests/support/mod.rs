//! What the tests of the definition share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Compares a committed file with what the code says; `UPDATE=1` writes it instead.
pub fn check_or_update(path: &str, wanted: &str) {
    let file = repository(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == wanted, "{path} differs from the code. Write it anew: UPDATE=1 cargo test -p mcp-crds");
}

/// The definition as a JSON value, with whole numbers written as such.
pub fn definition() -> Value {
    let mut definition = serde_json::to_value(mcp_crds::crd::mcpservers()).unwrap();
    whole_numbers(&mut definition);
    definition
}

/// The schema of its one version.
pub fn schema() -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
}

/// `maximum` is a float to Kubernetes' types: `3600.0`.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
                *value = Value::from(float as i64);
            }
        }
        Value::Object(object) => object.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Calls `see` with every field's path and schema: `spec.auth.issuers[].url`.
pub fn for_each_field(schema: &Value, see: &mut impl FnMut(&str, &Value)) {
    below("", schema, see);
}

fn below(path: &str, schema: &Value, see: &mut impl FnMut(&str, &Value)) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        see(&path, field);
        below(&path, field, see);
        below(&format!("{path}[]"), &field["items"], see);
        below(&format!("{path}{{}}"), &field["additionalProperties"], see);
    }
}

/// Fields whose content is Kubernetes' own: undocumented here (`kubectl explain pod.spec` has it), bounded by the
/// size of an object.
pub fn is_kubernetes_own(path: &str) -> bool {
    const EMBEDDED: [&str; 22] = [
        "spec.autoscaling.behavior.",
        "spec.autoscaling.metrics[]",
        "spec.backend.container.env[]",
        "spec.backend.container.envFrom[]",
        "spec.backend.container.probes.startup.",
        "spec.backend.container.volumeMounts[]",
        "spec.database.migrations.env[]",
        "spec.database.migrations.envFrom[]",
        "spec.networkPolicy.egressTo[]",
        "spec.networkPolicy.ingressFrom[]",
        "spec.pod.affinity.",
        "spec.pod.imagePullSecrets[]",
        "spec.pod.tolerations[]",
        "spec.pod.topologySpreadConstraints[]",
        "spec.pod.volumes[].configMap.",
        "spec.pod.volumes[].csi.",
        "spec.pod.volumes[].downwardAPI.",
        "spec.pod.volumes[].emptyDir.",
        "spec.pod.volumes[].ephemeral.",
        "spec.pod.volumes[].persistentVolumeClaim.",
        "spec.pod.volumes[].projected.",
        "spec.pod.volumes[].secret.",
    ];
    EMBEDDED.iter().any(|embedded| path.starts_with(embedded)) || path.starts_with("status.conditions[]")
}
