//! Traces. A request that comes with a trace context has its `trace_id` in the log lines; where a collector is configured,
//! each request is a span too, with the sender's span as parent, and the backend's parent is ours.
//!
//! ```text
//! begin ── Trace (header) ── envelope: join (_meta) ── backend: traceparent of our span
//!   └─ body complete ── span ── Exporter: bounded queue ── one task ── POST <endpoint>/v1/traces
//! ```

mod context;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

pub use self::context::TraceContext;

/// The header of W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where a request stands in a trace. A request extension, where the request has a trace at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace, our own span where one is made (else the sender's), and whether it is recorded.
    pub context: TraceContext,
    /// The sender's span.
    pub parent: Option<[u8; 8]>,
    /// A span is made here.
    ours: bool,
}

impl Trace {
    /// The trace of the sender, without a span of ours.
    fn of_sender(context: TraceContext) -> Self {
        Self { context, parent: Some(context.span), ours: false }
    }

    /// For the log lines of the request whose span that is.
    pub fn note(&self, span: &Span) {
        span.record("trace_id", self.context.trace_id());
    }

    /// Whoever is asked on behalf of the request continues our span.
    pub fn mark(&self, headers: &mut HeaderMap) {
        if self.ours
            && let Ok(value) = HeaderValue::try_from(self.context.to_string())
        {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// The same request as a part of that trace instead. Our span keeps its id.
    fn joined(self, sender: TraceContext) -> Self {
        let span = if self.ours { self.context.span } else { sender.span };
        Self { context: TraceContext { span, ..sender }, parent: Some(sender.span), ours: self.ours }
    }
}

/// The sender's context in the headers.
#[must_use]
pub fn sent(headers: &HeaderMap) -> Option<Trace> {
    headers.get(TRACEPARENT)?.to_str().ok().and_then(TraceContext::parse).map(Trace::of_sender)
}

/// The message's own context (SEP-414), which is the client's: one in the headers may be a proxy's.
pub fn join(parts: &mut Parts, meta: Option<&str>) {
    if let Some(trace) = joined(parts.extensions.get().copied(), meta) {
        trace.note(&Span::current());
        trace.mark(&mut parts.headers);
        parts.extensions.insert(trace);
    }
}

/// The trace that a request is part of once its message is known; `None`: still the one before.
fn joined(before: Option<Trace>, meta: Option<&str>) -> Option<Trace> {
    let sender = TraceContext::parse(meta?)?;
    Some(before.map_or_else(|| Trace::of_sender(sender), |before| before.joined(sender)))
}
