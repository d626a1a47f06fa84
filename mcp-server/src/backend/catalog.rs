//! A backend's tools: how many, their names, and a digest that changes when a definition does.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// `sha256:` and the digest over the definitions in canonical form: sorted by name, members sorted, no white space. The
/// order in which a server lists its tools, and `_meta`, make no difference.
pub(crate) fn digest(tools: &[Value]) -> String {
    let mut texts: Vec<(&str, String)> = tools.iter().map(|tool| (name(tool), canonical_tool(tool))).collect();
    texts.sort_unstable();
    let mut hash = Sha256::new();
    for (_, text) in &texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut out = String::from("sha256:");
    for byte in hash.finalize() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The tool's name, or the empty string.
pub(super) fn name(tool: &Value) -> &str {
    tool.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn canonical_tool(tool: &Value) -> String {
    let mut out = String::new();
    match tool.as_object() {
        Some(members) => write_object(members.iter().filter(|(key, _)| *key != "_meta"), &mut out),
        None => write_value(tool, &mut out),
    }
    out
}

/// The nesting of a value that serde_json has read is bounded, so is this recursion.
fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => write_object(members.iter(), out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_value(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Whether serde_json keeps the order of members depends on a feature that any crate may switch on: sort here.
fn write_object<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>, out: &mut String) {
    let mut members: Vec<_> = members.collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (key, value) in members {
        let _ = write!(out, "{}:", Value::from(key.as_str()));
        write_value(value, out);
        out.push(',');
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::digest;

    #[test]
    fn order_and_meta_make_no_difference_and_a_definition_does() {
        let (a, b) = (json!({"name": "a", "inputSchema": {"type": "object", "x": [1, 2]}}), json!({"name": "b"}));
        let a_again = serde_json::from_str(r#"{"inputSchema":{"x":[1,2],"type":"object"},"_meta":{"v":1},"name":"a"}"#)
            .expect("valid");
        assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b.clone(), a_again]));
        let changed = json!({"name": "a", "inputSchema": {"type": "object", "x": [2, 1]}});
        assert_ne!(digest(&[a.clone(), b.clone()]), digest(&[changed, b]));
        assert_ne!(digest(std::slice::from_ref(&a)), digest(&[a.clone(), a]));
    }
}
