//! Traces. A request that comes with a trace context has its `trace_id` in the log lines; where a collector is configured,
//! each request is a span too, with the sender's span as parent, and the backend's parent is ours.
//!
//! ```text
//! begin ── Trace (header) ── envelope: join (_meta) ── backend: traceparent of our span
//!   └─ response complete ── Finished ── Exporter: bounded queue ── one task ── POST <endpoint>/v1/traces
//! ```

mod context;
mod export;
mod span;

use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use mcp_server_config::Otel;
use prometheus::Registry;
use tracing::Span;

pub use self::context::TraceContext;
use self::export::Exporter;
pub use self::span::Finished;

/// The header of W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// How long the end of the process waits for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The metric is there already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// TLS cannot be set up.
    #[error("otel: {0}")]
    Tls(#[from] rustls::Error),
}

/// Decides which requests are recorded, and records them.
pub struct Tracer {
    /// Of the ids that are made here, those below it are recorded.
    below: u64,
    exporter: Exporter,
}

impl Tracer {
    /// Starts the export. `server` is `server.name`. Call within a tokio runtime.
    pub fn start(section: &Otel, server: &str, registry: &Registry) -> Result<Self, StartError> {
        // Casts saturate: 1 is every id.
        let below = (section.sample_ratio * 2f64.powi(64)) as u64;
        Ok(Self { below, exporter: Exporter::start(section, server, registry)? })
    }

    /// A request comes, perhaps with a trace.
    #[must_use]
    pub fn begin(&self, sent: Option<Trace>) -> Trace {
        let span = random();
        match sent {
            Some(sent) => Trace { context: TraceContext { span, ..sent.context }, ours: true, ..sent },
            None => {
                let trace: [u8; 16] = random();
                let chance = u64::from_be_bytes(trace[8..].try_into().expect("the half of 16 bytes is 8"));
                let sampled = self.below == u64::MAX || chance < self.below;
                Trace { context: TraceContext { trace, span, sampled }, parent: None, ours: true }
            }
        }
    }

    /// The request's response is complete. Never waits.
    pub fn end(&self, finished: Finished) {
        self.exporter.send(finished);
    }

    /// Sends what there is, but does not try for long.
    pub async fn flush(&self) {
        let _ = tokio::time::timeout(LAST_SPANS, self.exporter.flush()).await;
    }
}

/// W3C: ids of zeros only are none.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes[..]);
    bytes[N - 1] |= u8::from(bytes.iter().all(|byte| *byte == 0));
    bytes
}

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

    /// A span is to be sent for it.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.ours && self.context.sampled
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
pub(crate) fn joined(before: Option<Trace>, meta: Option<&str>) -> Option<Trace> {
    let sender = TraceContext::parse(meta?)?;
    Some(before.map_or_else(|| Trace::of_sender(sender), |before| before.joined(sender)))
}
