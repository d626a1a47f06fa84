//! One log line's content: the deployment document's keys first, then whatever else the event or its spans say.

use std::error::Error;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::ops::Range;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// The document's keys that every line has. They keep their meaning whatever a field is called.
const OWN: [&str; 7] = ["timestamp", "level", "logger", "message", "module", "function", "line"];

/// Names and values, the values as JSON in one buffer: what a line needs is copied from it.
#[derive(Debug, Default)]
pub(super) struct Fields {
    text: Vec<u8>,
    entries: Vec<(&'static str, Range<usize>)>,
    /// Where values are formatted before they are escaped.
    formatted: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut formatted = std::mem::take(&mut self.formatted);
        formatted.clear();
        let _ = write!(formatted, "{value:?}");
        self.put(field.name(), |text| serde_json::to_writer(text, &formatted));
        self.formatted = formatted;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), |text| serde_json::to_writer(text, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), |text| serde_json::to_writer(text, &value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), |text| serde_json::to_writer(text, &value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), |text| serde_json::to_writer(text, &value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), |text| serde_json::to_writer(text, &value));
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
        self.put("exception", |text| serde_json::to_writer(text, &chain));
    }
}

impl Fields {
    /// The last value of a name counts.
    fn put(&mut self, name: &'static str, value: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) {
        let start = self.text.len();
        if value(&mut self.text).is_err() {
            // Strings, numbers and truth values are always JSON.
            self.text.truncate(start);
            return;
        }
        self.entries.retain(|(known, _)| *known != name);
        self.entries.push((name, start..self.text.len()));
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.entries.iter().map(|(name, range)| (*name, &self.text[range.clone()]))
    }

    fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
    }
}

/// Makes lines; its buffers are used again for the next.
#[derive(Debug, Default)]
pub(super) struct Record {
    event: Fields,
    /// Names that the line has already.
    named: Vec<&'static str>,
}

/// What a line says of where and when.
pub(super) struct Place<'a> {
    pub now: Timestamp,
    pub metadata: &'a Metadata<'a>,
    /// The innermost span.
    pub function: &'a str,
}

impl Record {
    /// Takes the event's own fields.
    pub fn read(&mut self, event: &Event<'_>) {
        self.event.clear();
        self.named.clear();
        event.record(&mut self.event);
    }

    /// One JSON object, still open: [`Record::span`] adds to it, [`Record::end_json`] closes it.
    pub fn json(&mut self, place: &Place<'_>, line: &mut Vec<u8>) {
        let Place { now, metadata, function } = place;
        let _ = write!(line, "{{\"timestamp\":\"{now:.6}\",\"level\":\"{}\",\"logger\":", level(*metadata.level()));
        string(line, metadata.target());
        line.extend_from_slice(b",\"message\":");
        line.extend_from_slice(self.event.get("message").unwrap_or(b"\"\""));
        line.extend_from_slice(b",\"module\":");
        string(line, metadata.module_path().unwrap_or_default());
        line.extend_from_slice(b",\"function\":");
        string(line, function);
        let _ = match metadata.line() {
            Some(number) => write!(line, ",\"line\":{number}"),
            None => write!(line, ",\"line\":null"),
        };
        member_each(&self.event, &mut self.named, line);
    }

    /// The fields of one span, from the innermost outwards: what is nearer is stronger.
    pub fn span(&mut self, fields: &Fields, line: &mut Vec<u8>) {
        member_each(fields, &mut self.named, line);
    }

    pub fn end_json(line: &mut Vec<u8>) {
        line.extend_from_slice(b"}\n");
    }

    /// Time, level, logger, message, then the fields as `name=value`.
    pub fn text(&mut self, place: &Place<'_>, line: &mut Vec<u8>) {
        let Place { now, metadata, function: _ } = place;
        let _ = write!(line, "{now:.6} {:<7} {}: ", level(*metadata.level()), metadata.target());
        // JSON escapes what would break the line.
        line.extend_from_slice(self.event.get("message").map_or(b"", |message| inner(message).unwrap_or(message)));
        self.named.push("message");
        word_each(&self.event, &mut self.named, line);
    }

    /// As [`Record::span`], for people.
    pub fn text_span(&mut self, fields: &Fields, line: &mut Vec<u8>) {
        word_each(fields, &mut self.named, line);
    }
}

fn member_each(fields: &Fields, named: &mut Vec<&'static str>, line: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        if OWN.contains(&name) || named.contains(&name) {
            continue;
        }
        named.push(name);
        line.push(b',');
        string(line, name);
        line.push(b':');
        line.extend_from_slice(value);
    }
}

fn word_each(fields: &Fields, named: &mut Vec<&'static str>, line: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        if named.contains(&name) {
            continue;
        }
        named.push(name);
        let value = inner(value).filter(|text| plain(text)).unwrap_or(value);
        let _ = write!(line, " {name}=");
        line.extend_from_slice(value);
    }
}

fn string(line: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(line, text);
}

/// What is between the quotes of a JSON string.
fn inner(json: &[u8]) -> Option<&[u8]> {
    json.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Without its quotes it is still one word.
fn plain(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\=".contains(byte))
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
#[path = "record_tests.rs"]
mod tests;
