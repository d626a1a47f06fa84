//! Unknown keys of a live file are found and left out: the operator that wrote it may be newer than this runtime, and a
//! server that refuses its file would keep an old one. The JSON Schema of [`Live`] says which keys are known.

use serde_json::{Map, Value};

use crate::parse::{explain, read};
use crate::{FORMAT_VERSION, Invalid, Live, Unknown};

/// Reads the file without the keys that this release does not know, and names them.
pub(crate) fn ignore(text: &str) -> Result<(Live, Vec<Unknown>), Invalid> {
    let mut file: Value = read(text).map_err(|error| explain(&error))?;
    let schema = schemars::schema_for!(Live).to_value();
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);

    let mut unknown = Vec::new();
    prune(&mut file, &schema, definitions, "", &mut unknown);
    unknown.sort_unstable_by(|one: &Unknown, other| one.0.cmp(&other.0));
    let live = serde_json::from_value(file.clone()).map_err(|_| explain_section(&file))?;
    Ok((live, unknown))
}

/// The section that is wrong, and why. Its lines are no longer those of the file.
fn explain_section(file: &Value) -> Invalid {
    let Value::Object(sections) = file else { return Invalid("line 1: expected sections".to_owned()) };
    let wrong = sections.iter().find_map(|(name, section)| {
        let version = ("formatVersion".to_owned(), FORMAT_VERSION.into());
        let alone = Value::Object(Map::from_iter([version, (name.clone(), section.clone())]));
        let Invalid(reason) = explain(&read::<Live>(&alone.to_string()).err()?);
        let reason = reason.strip_prefix("line 1: ").unwrap_or(&reason);
        Some(Invalid(format!("{name}: {reason}")))
    });
    wrong.unwrap_or_else(|| Invalid("line 1: the sections do not fit together".to_owned()))
}

fn prune(value: &mut Value, schema: &Value, definitions: &Map<String, Value>, path: &str, unknown: &mut Vec<Unknown>) {
    let schema = resolve(schema, definitions);
    match value {
        Value::Object(members) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
            members.retain(|key, _| {
                let keep = known.contains_key(key);
                if !keep {
                    unknown.push(Unknown(join(path, key)));
                }
                keep
            });
            for (key, member) in members {
                prune(member, &known[key], definitions, &join(path, key), unknown);
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (index, item) in items.iter_mut().enumerate() {
                prune(item, schema, definitions, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Follows `$ref`, and `anyOf` to the member that is not `null` (an `Option`).
fn resolve<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        return definitions.get(name).map_or(schema, |found| resolve(found, definitions));
    }
    let present = |member: &&Value| member.get("type").and_then(Value::as_str) != Some("null");
    match schema.get("anyOf").and_then(Value::as_array).and_then(|members| members.iter().find(present)) {
        Some(member) => resolve(member, definitions),
        None => schema,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
