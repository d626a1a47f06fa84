//! One request for the audit stream and for traces. Where neither is on, nothing here runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::{Account, Denied, RequestId};
use crate::app::App;
use crate::audit::{Entry, Facts};
use crate::mcp::Envelope;
use crate::metrics::KnownMethod;
use crate::telemetry::{self, Finished, Trace};

/// From the request's first moment to the end of its response.
pub(super) struct Recording {
    account: Arc<Account>,
    id: RequestId,
    trace: Option<Trace>,
    request_bytes: u64,
    version: Option<&'static str>,
    /// Of the message, where there was a good one.
    method: Option<String>,
    name: Option<String>,
    denied: Option<&'static str>,
}

/// What else is known at the end.
pub(super) struct Ending<'a> {
    pub method: &'a Method,
    pub client: IpAddr,
    pub status: u16,
    pub duration: Duration,
    pub response_bytes: u64,
}

impl Recording {
    /// From now on the layers tell what they learn. `None` where nothing is to be recorded.
    pub(super) fn begin(app: &App, request: &mut Request, id: &RequestId, trace: Option<Trace>) -> Option<Box<Self>> {
        if !app.records(request.uri().path()) {
            return None;
        }
        let account = Arc::<Account>::default();
        request.extensions_mut().insert(Arc::clone(&account));
        Some(Box::new(Self {
            account,
            id: id.clone(),
            trace,
            request_bytes: announced(request.headers()),
            version: request.headers().get("mcp-protocol-version").and_then(|value| revision(value.to_str().ok()?)),
            method: None,
            name: None,
            denied: None,
        }))
    }

    /// The response's head is known. The message itself is let go of: it may be large, and a stream long.
    pub(super) fn answered(&mut self, response: &Response) {
        self.denied = Denied::reason(response);
        let Some(envelope) = response.extensions().get::<Arc<Envelope>>() else { return };
        self.trace = telemetry::joined(self.trace, envelope.traceparent.as_deref()).or(self.trace);
        self.request_bytes = envelope.bytes.len() as u64;
        self.version = envelope.meta_version.as_deref().and_then(revision).or(self.version);
        self.method.clone_from(&envelope.method);
        self.name.clone_from(&envelope.name);
    }

    /// The response is complete.
    pub(super) fn end(self, app: &App, ending: &Ending<'_>) {
        if let Some(audit) = &app.audit {
            audit.write(&Entry::of(self.facts(ending), Timestamp::now()));
        }
        if let Some(tracer) = &app.tracer
            && let Some(trace) = self.trace.filter(Trace::is_recorded)
        {
            tracer.end(self.finished(app, trace, ending));
        }
    }

    fn facts<'a>(&'a self, ending: &'a Ending<'_>) -> Facts<'a> {
        Facts {
            request_id: &self.id.0,
            trace_id: self.trace.map(|trace| trace.context.trace_id()),
            caller: self.account.caller(),
            client: ending.client,
            http_method: ending.method.as_str(),
            method: self.method.as_deref(),
            name: self.name.as_deref(),
            denied: self.denied,
            status: ending.status,
            succeeded: self.account.succeeded(),
            duration: ending.duration,
            request_bytes: self.request_bytes,
            response_bytes: ending.response_bytes,
        }
    }

    fn finished(self, app: &App, trace: Trace, ending: &Ending<'_>) -> Finished {
        let method = self.method.as_deref().map(KnownMethod::of);
        let calls = self.method.as_deref() == Some("tools/call");
        Finished {
            trace,
            duration: ending.duration,
            http_method: static_name(ending.method),
            status: ending.status,
            method,
            // Clients may name anything; a span's name is an index in most collectors.
            tool: self.name.filter(|name| calls && app.metrics.knows_tool(name)),
            version: self.version,
            denied: self.denied,
            succeeded: self.account.succeeded(),
        }
    }
}

fn announced(headers: &HeaderMap) -> u64 {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or_default()
}

/// A revision that exists, among whatever a client may write.
fn revision(text: &str) -> Option<&'static str> {
    ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"].into_iter().find(|known| *known == text)
}

/// OpenTelemetry's conventions for HTTP: methods that nobody knows are one.
fn static_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
