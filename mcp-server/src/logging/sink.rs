//! Where lines go.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use mcp_server_config::{Handler, LogFormat, Logging};
use serde_json::Map;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::record::{Fields, Record};

/// A log file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("logging: cannot open {path}: {source}")]
pub struct OpenError {
    path: PathBuf,
    source: std::io::Error,
}

/// The subscriber's layer that writes lines.
pub struct Lines {
    format: LogFormat,
    sinks: Vec<Sink>,
}

enum Sink {
    Console,
    File(File),
}

impl Lines {
    /// Opens the files.
    pub fn open(logging: &Logging) -> Result<Self, OpenError> {
        let sinks = logging.handlers.iter().map(Sink::open).collect::<Result<_, _>>()?;
        Ok(Self { format: logging.format, sinks })
    }
}

impl Sink {
    fn open(handler: &Handler) -> Result<Self, OpenError> {
        match handler {
            Handler::Console {} => Ok(Self::Console),
            Handler::File { filename } => OpenOptions::new()
                .create(true)
                // Appending: whoever rotates the file by truncation leaves no hole.
                .append(true)
                .open(filename)
                .map(Self::File)
                .map_err(|source| OpenError { path: filename.clone(), source }),
        }
    }

    /// One write a line, so that lines of several threads do not mix. There is nobody to tell of a failure.
    fn write(&self, line: &str) {
        let _ = match self {
            Self::Console => std::io::stdout().lock().write_all(line.as_bytes()),
            Self::File(file) => (&*file).write_all(line.as_bytes()),
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Map::new();
        let mut function = "";
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            function = span.name();
            if let Some(Fields(more)) = span.extensions().get::<Fields>() {
                fields.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        let record = Record::new(event, function, fields);
        let mut line = String::with_capacity(512);
        match self.format {
            LogFormat::Json => record.json(Timestamp::now(), &mut line),
            LogFormat::Text => record.text(Timestamp::now(), &mut line),
        }
        for sink in &self.sinks {
            sink.write(&line);
        }
    }
}
