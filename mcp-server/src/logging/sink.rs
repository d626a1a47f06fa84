//! The subscriber's layer that makes lines and hands them to their writers.

use std::cell::RefCell;

use jiff::Timestamp;
use mcp_server_config::LogFormat;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::record::{Fields, Place, Record};
use super::writer::Writer;

/// Makes lines.
pub(super) struct Lines {
    pub format: LogFormat,
    pub writers: &'static [Writer],
}

/// The buffers of a line in the making.
type Buffers = (Record, Vec<u8>);

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
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
        BUFFERS.with(|buffers| match buffers.try_borrow_mut() {
            Ok(mut buffers) => self.line(event, &context, &mut buffers),
            // A value whose formatting logs is within its own line.
            Err(_) => self.line(event, &context, &mut Buffers::default()),
        });
    }
}

impl Lines {
    fn line<S>(&self, event: &Event<'_>, context: &Context<'_, S>, (record, line): &mut Buffers)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        line.clear();
        record.read(event);
        let innermost = context.event_span(event);
        let function = innermost.as_ref().map_or("", |span| span.name());
        let place = Place { now: Timestamp::now(), metadata: event.metadata(), function };
        match self.format {
            LogFormat::Json => record.json(&place, line),
            LogFormat::Text => record.text(&place, line),
        }
        for span in innermost.into_iter().flat_map(|span| span.scope()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                match self.format {
                    LogFormat::Json => record.span(fields, line),
                    LogFormat::Text => record.text_span(fields, line),
                }
            }
        }
        match self.format {
            LogFormat::Json => Record::end_json(line),
            LogFormat::Text => line.push(b'\n'),
        }
        for writer in self.writers {
            writer.write(line);
        }
    }
}
