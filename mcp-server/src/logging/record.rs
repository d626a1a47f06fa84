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
        let own: [(&str, Value); 7] = [
            ("timestamp", timestamp(now).into()),
            ("level", level(*metadata.level()).into()),
            ("logger", metadata.target().into()),
            ("message", self.message.into()),
            ("module", metadata.module_path().unwrap_or_default().into()),
            ("function", self.function.into()),
            ("line", metadata.line().into()),
        ];
        // The document's keys keep their meaning whatever a field is called.
        let others = self.fields.iter().filter(|(name, _)| own.iter().all(|(key, _)| key != name));
        let pairs =
            own.iter().map(|(key, value)| (*key, value)).chain(others.map(|(key, value)| (key.as_str(), value)));
        let mut separator = '{';
        for (key, value) in pairs {
            let _ = write!(line, "{separator}{}:{value}", Value::from(key));
            separator = ',';
        }
        line.push_str("}\n");
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing::{error, error_span, info, warn};
    use tracing_subscriber::layer::{Context, SubscriberExt as _};
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    /// Collects lines; without spans.
    struct Lines(Arc<Mutex<Vec<String>>>, bool);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let fields = Map::from_iter([("request_id".to_owned(), json!("r-1")), ("level".to_owned(), json!("mine"))]);
            let record = Record::new(event, "request", fields);
            let mut line = String::new();
            let now = "2026-11-22T22:00:00.5Z".parse().unwrap();
            if self.1 {
                record.json(now, &mut line);
            } else {
                record.text(now, &mut line);
            }
            self.0.lock().unwrap().push(line);
        }
    }

    fn lines(json: bool, act: impl FnOnce()) -> Vec<String> {
        let lines = Arc::default();
        let subscriber = Registry::default().with(Lines(Arc::clone(&lines), json));
        tracing::subscriber::with_default(subscriber, act);
        lines.lock().unwrap().clone()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot fetch the keys")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_json_line_has_the_documents_keys_first_and_each_once() {
        let line = lines(true, || warn!(tool_name = "add", duration_ms = 150u64, "Tool \"invoked\"\n")).pop().unwrap();
        let expected = "{\"timestamp\":\"2026-11-22T22:00:00.500000Z\",\"level\":\"WARNING\",\"logger\":";
        assert!(line.starts_with(expected), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], "Tool \"invoked\"\n");
        assert_eq!(object["level"], "WARNING");
        assert_eq!((&object["tool_name"], &object["duration_ms"]), (&json!("add"), &json!(150)));
        assert_eq!((&object["request_id"], &object["function"]), (&json!("r-1"), &json!("request")));
        assert!(object["line"].is_u64());
    }

    #[test]
    fn an_error_becomes_its_chain() {
        let problem = Outer(std::io::Error::other("connection refused"));
        let line = lines(true, || error!(error = &problem as &dyn Error, "no keys")).pop().unwrap();
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["exception"], "cannot fetch the keys: connection refused");
    }

    #[test]
    fn a_text_line_stays_one_line() {
        let line = lines(false, || {
            let _span = error_span!("ignored").entered();
            info!(path = "/a b\n2026 ERROR forged", count = 3, "first\nsecond");
        });
        let line = &line[0];
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.starts_with("2026-11-22T22:00:00.500000Z INFO    "), "{line}");
        assert!(
            line.contains(r#"first\nsecond count=3"#) && line.contains(r#"path="/a b\n2026 ERROR forged""#),
            "{line}"
        );
    }
}
