//! One request as a span, by OpenTelemetry's conventions for MCP:
//! <https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/>. No argument, result, session or user is in it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::Trace;
use crate::metrics::KnownMethod;

/// Bits of a span's `flags`: sampled, and that the parent is known to be of another process.
const SAMPLED: u32 = 0x001;
const PARENT_IS_REMOTE: u32 = 0x300;

/// A request whose response is complete.
#[derive(Debug)]
pub struct Finished {
    /// Where it stands.
    pub trace: Trace,
    /// How long it took until now.
    pub duration: Duration,
    /// GET, POST or DELETE.
    pub http_method: &'static str,
    /// The status of the response.
    pub status: u16,
    /// The method of the message.
    pub method: Option<KnownMethod>,
    /// The tool that was called, where the backend has it.
    pub tool: Option<String>,
    /// The protocol revision as the client named it, if it is one.
    pub version: Option<&'static str>,
    /// Why it was refused.
    pub denied: Option<&'static str>,
    /// The tool call's outcome.
    pub succeeded: Option<bool>,
}

impl Finished {
    /// As the collector reads it. `now` is when the response was complete.
    pub(super) fn span(&self, now: SystemTime) -> Span {
        let end = nanos(now);
        let error = self.error();
        let Trace { context, parent, .. } = &self.trace;
        Span {
            trace_id: context.trace.to_vec(),
            span_id: context.span.to_vec(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            flags: SAMPLED | if parent.is_some() { PARENT_IS_REMOTE } else { 0 },
            name: self.name(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: end.saturating_sub(u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX)),
            end_time_unix_nano: end,
            attributes: self.attributes(error.as_deref()),
            status: error.map(|_| Status { code: StatusCode::Error.into(), message: String::new() }),
            ..Span::default()
        }
    }

    fn name(&self) -> String {
        match (self.method, &self.tool) {
            (Some(method), Some(tool)) => format!("{} {tool}", method.as_str()),
            (Some(method), None) => method.as_str().to_owned(),
            (None, _) => self.http_method.to_owned(),
        }
    }

    fn attributes(&self, error: Option<&str>) -> Vec<KeyValue> {
        let text = |key: &str, value: &str| attribute(key, Value::StringValue(value.to_owned()));
        let mut attributes = vec![
            text("http.request.method", self.http_method),
            attribute("http.response.status_code", Value::IntValue(self.status.into())),
            text("network.protocol.name", "http"),
            text("network.transport", "tcp"),
        ];
        attributes.extend(self.method.map(|method| text("mcp.method.name", method.as_str())));
        attributes.extend(self.version.map(|version| text("mcp.protocol.version", version)));
        if let Some(tool) = &self.tool {
            attributes.push(text("gen_ai.tool.name", tool));
            attributes.push(text("gen_ai.operation.name", "execute_tool"));
        }
        attributes.extend(error.map(|error| text("error.type", error)));
        attributes
    }

    fn error(&self) -> Option<String> {
        match self.denied {
            Some(reason) => Some(reason.to_owned()),
            None if self.status >= 400 => Some(self.status.to_string()),
            None => (self.succeeded == Some(false)).then(|| "tool_error".to_owned()),
        }
    }
}

/// A name and its value.
pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
