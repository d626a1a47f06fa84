//! One log line's content: the deployment document's keys first, then whatever else the event or its spans say.

use std::error::Error;
use std::fmt::{Debug, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Fields by name, in the order of their names.
#[derive(Debug, Default, Clone)]
pub(super) struct Fields(pub Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    /// The whole chain: what was attempted, and each cause.
    fn record_error(&mut self, _field: &Field, value: &(dyn Error + 'static)) {
        let mut chain = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause in their own words.
            if !chain.ends_with(&text) {
                let _ = write!(chain, ": {text}");
            }
            cause = error.source();
        }
        self.0.insert("exception".to_owned(), chain.into());
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

/// A line to be.
pub(super) struct Record<'a> {
    event: &'a Event<'a>,
    function: &'a str,
    fields: Map<String, Value>,
    message: String,
}

impl<'a> Record<'a> {
    /// `function` is the innermost span; `fields` are those of the spans, which the event's own come over.
    pub fn new(event: &'a Event<'a>, function: &'a str, fields: Map<String, Value>) -> Self {
        let mut fields = Fields(fields);
        event.record(&mut fields);
        let message = match fields.0.remove("message") {
            Some(Value::String(message)) => message,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Self { event, function, fields: fields.0, message }
    }

    /// One JSON object and a line feed.
    pub fn json(self, now: Timestamp, line: &mut String) {
        let metadata = self.event.metadata();
        let mut object = Map::new();
        object.insert("timestamp".to_owned(), timestamp(now).into());
        object.insert("level".to_owned(), level(*metadata.level()).into());
        object.insert("logger".to_owned(), metadata.target().into());
        object.insert("message".to_owned(), self.message.into());
        object.insert("module".to_owned(), metadata.module_path().unwrap_or_default().into());
        object.insert("function".to_owned(), self.function.into());
        object.insert("line".to_owned(), metadata.line().into());
        for (name, value) in self.fields {
            // The document's keys keep their meaning whatever a field is called.
            object.entry(name).or_insert(value);
        }
        let _ = writeln!(line, "{}", Value::Object(object));
    }

    /// Time, level, logger, message, then the fields as `name=value`.
    pub fn text(self, now: Timestamp, line: &mut String) {
        let metadata = self.event.metadata();
        let (time, level) = (timestamp(now), level(*metadata.level()));
        let _ = write!(line, "{time} {level:<7} {}: {}", metadata.target(), self.message.escape_debug());
        for (name, value) in self.fields {
            let _ = match value {
                Value::String(text) if plain(&text) => write!(line, " {name}={text}"),
                // JSON escapes what would break the line.
                value => write!(line, " {name}={value}"),
            };
        }
        line.push('\n');
    }
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '"' && c != '=')
}

fn timestamp(now: Timestamp) -> String {
    format!("{now:.6}")
}

/// The document's names of the levels.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}
