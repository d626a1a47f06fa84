//! docs/configuration.md says what the types say. `UPDATE=1 cargo test -p mcp-server-config --test documentation` writes it.

use std::fmt::Write as _;
use std::path::Path;

use mcp_server_config::schema;
use serde_json::Value;

#[test]
fn the_reference_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = std::fs::read_to_string(&file).unwrap_or_default();
    let (written, reference) =
        page.split_once(MARKER).expect("docs/configuration.md has the line that marks what follows");
    let wanted = Reference::of(&schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, format!("{written}{MARKER}{wanted}")).unwrap();
        return;
    }
    assert_eq!(reference, wanted, "run: UPDATE=1 cargo test -p mcp-server-config --test documentation");
}

const MARKER: &str =
    "<!-- Generated from mcp-server/config: UPDATE=1 cargo test -p mcp-server-config --test documentation -->\n";

/// One table a section.
struct Reference<'a> {
    schema: &'a Value,
    text: String,
}

impl<'a> Reference<'a> {
    fn of(schema: &'a Value) -> String {
        let mut reference = Self { schema, text: String::new() };
        for (name, section) in sorted(&schema["properties"]) {
            reference.section(name, section);
        }
        reference.text
    }

    fn section(&mut self, name: &str, section: &Value) {
        let target = self.target(section);
        // `See …` of a section that may also stand in the live file: its type says more.
        let own = section["description"].as_str().filter(|text| !text.starts_with("See "));
        let description = own.or_else(|| target["description"].as_str()).unwrap_or_default();
        let _ = write!(self.text, "\n## `{name}`\n\n{}\n", one_line(description));
        if self.has_keys(target) {
            self.text.push_str("\n| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n");
            self.keys("", target);
        }
    }

    fn keys(&mut self, prefix: &str, object: &Value) {
        let members: Vec<_> = object["oneOf"].as_array().into_iter().flatten().collect();
        let tags: Vec<_> = members.iter().filter_map(|member| member["properties"]["type"]["const"].as_str()).collect();
        if !tags.is_empty() {
            let kinds = tags.iter().map(|tag| format!("`{tag}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(self.text, "| `{prefix}type` | {kinds} | required | Which of these it is. |");
        }
        for member in members {
            self.keys(prefix, member);
        }
        for (name, key) in sorted(&object["properties"]).filter(|(_, key)| key["const"].is_null()) {
            let target = self.target(key);
            let path = format!("{prefix}{name}");
            let required = object["required"].as_array().is_some_and(|names| names.iter().any(|each| each == name));
            self.row(&path, key, target, required);
            let items = self.target(&target["items"]);
            if self.has_keys(target) {
                self.keys(&format!("{path}."), target);
            } else if self.has_keys(items) {
                self.keys(&format!("{path}[]."), items);
            }
        }
    }

    fn row(&mut self, path: &str, key: &Value, target: &Value, required: bool) {
        let description = key["description"].as_str().or_else(|| target["description"].as_str()).unwrap_or_default();
        let default = match &key["default"] {
            // Members of a union, each of which is named in its own variant only.
            _ if required && target["type"] == "object" => "one of these".to_owned(),
            _ if required => "required".to_owned(),
            // An object's own defaults stand in the lines of its keys.
            Value::Null | Value::Object(_) => String::new(),
            value => format!("`{value}`"),
        };
        let kind = self.kind(target);
        let _ = writeln!(self.text, "| `{path}` | {kind} | {default} | {} |", one_line(description));
    }

    fn kind(&self, target: &Value) -> String {
        if target["items"].is_object() {
            return format!("list of {}", self.kind(self.target(&target["items"])));
        }
        if let Some(forms) = target["anyOf"].as_array() {
            return forms.iter().map(|form| self.kind(form)).collect::<Vec<_>>().join(" or ");
        }
        let words: Vec<_> = target["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let members = target["oneOf"].as_array().into_iter().flatten();
        let constants: Vec<_> = members.filter_map(|member| member["const"].as_str()).collect();
        let choice = [words, constants].concat();
        if !choice.is_empty() {
            return choice.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        }
        let name = match &target["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            name => name.as_str(),
        };
        match (name, target["format"].as_str()) {
            (_, Some("uri")) => "URL".to_owned(),
            (Some("integer"), _) => "number".to_owned(),
            (name, _) => name.unwrap_or("object").to_owned(),
        }
    }

    fn has_keys(&self, target: &Value) -> bool {
        let members = target["oneOf"].as_array().into_iter().flatten();
        target["properties"].is_object() || members.into_iter().any(|member| member["properties"].is_object())
    }

    /// What a reference, or an optional reference, points to.
    fn target(&self, value: &'a Value) -> &'a Value {
        let options = value["anyOf"].as_array().into_iter().flatten();
        let reference = value["$ref"].as_str().or_else(|| options.filter_map(|each| each["$ref"].as_str()).next());
        reference.and_then(|path| self.schema.pointer(path.trim_start_matches('#'))).unwrap_or(value)
    }
}

fn sorted(properties: &Value) -> impl Iterator<Item = (&String, &Value)> {
    properties.as_object().into_iter().flatten()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
