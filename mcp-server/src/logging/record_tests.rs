//! The lines of events, without spans but for one that is made by hand.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing::{error, error_span, info, warn};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

use super::*;

struct Lines(Arc<Mutex<Vec<String>>>, bool);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut span = Fields::default();
        for (name, value) in [("request_id", "r-1"), ("level", "mine"), ("shared", "span's")] {
            span.put(name, |text| serde_json::to_writer(text, value));
        }
        let mut record = Record::default();
        record.read(event);
        let now = "2026-11-22T22:00:00.5Z".parse().unwrap();
        let place = Place { now, metadata: event.metadata(), function: "request" };
        let mut line = Vec::new();
        if self.1 {
            record.json(&place, &mut line);
            record.span(&span, &mut line);
            Record::end_json(&mut line);
        } else {
            record.text(&place, &mut line);
            record.text_span(&span, &mut line);
            line.push(b'\n');
        }
        self.0.lock().unwrap().push(String::from_utf8(line).unwrap());
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
    let line = lines(true, || warn!(tool_name = "add", duration_ms = 150u64, shared = "event's", "Tool \"invoked\"\n"))
        .pop()
        .unwrap();
    let expected = "{\"timestamp\":\"2026-11-22T22:00:00.500000Z\",\"level\":\"WARNING\",\"logger\":";
    assert!(line.starts_with(expected), "{line}");
    assert_eq!(line.matches('\n').count(), 1);
    for key in ["\"level\":", "\"message\":", "\"shared\":"] {
        assert_eq!(line.matches(key).count(), 1, "{key} {line}");
    }
    let object: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["message"], "Tool \"invoked\"\n");
    assert_eq!(object["level"], "WARNING");
    assert_eq!((&object["tool_name"], &object["duration_ms"]), (&json!("add"), &json!(150)));
    assert_eq!((&object["request_id"], &object["function"]), (&json!("r-1"), &json!("request")));
    assert_eq!(object["shared"], "event's", "what is nearer is stronger");
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
    assert!(line.contains(r#"first\nsecond path="/a b\n2026 ERROR forged" count=3"#), "{line}");
}
