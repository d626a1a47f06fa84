//! Small helpers that shape the generated OpenAPI.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

/// An image reference by the grammar of the distribution project: what a container runtime can pull.
pub(crate) const IMAGE_RULE: &str = concat!(
    "self.matches('^",
    r"([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?/)?",
    r"[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*",
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?",
    r"(@[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    "$')"
);

/// What a refused image reference is answered with.
pub(crate) const IMAGE_MESSAGE: &str =
    "not an image reference: write [registry/]name[:tag][@sha256:digest], as in ghcr.io/acme/server:1.2";

/// The schema of a list of Kubernetes' own types, without their descriptions: those are long, and `kubectl explain pod`
/// has them.
pub(crate) fn list_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut item = inline::<T>(generator);
    strip_descriptions(&mut item);
    serde_json::json!({"type": "array", "items": item}).try_into().unwrap_or_default()
}

/// The schema of an optional Kubernetes type, without its descriptions.
pub(crate) fn optional<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut value = inline::<T>(generator);
    strip_descriptions(&mut value);
    value.try_into().unwrap_or_default()
}

fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

/// Removes `description` where it is documentation; a *property* of that name is kept.
pub(crate) fn strip_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("description").is_some_and(Value::is_string) {
                object.remove("description");
            }
            object.values_mut().for_each(strip_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_descriptions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
