//! Small helpers that shape the generated OpenAPI.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

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
