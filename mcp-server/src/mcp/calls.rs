//! One tool call: its metrics and its log line, whatever answers it.

use std::sync::Arc;
use std::time::Instant;

use http::Extensions;

use crate::auth::Caller;
use crate::http::{Account, RequestId};
use crate::metrics::{Held, Metrics};
use crate::telemetry::Trace;

/// In bytes. Longer tool names are cut in the log: a client may send anything.
const LOGGED_NAME: usize = 128;

/// A tool call under way. One that is dropped without an outcome (the client went away, the process ends) has failed.
pub(crate) struct Call {
    metrics: Arc<Metrics>,
    tool: String,
    request: Option<RequestId>,
    user: Option<Arc<str>>,
    trace: Option<Trace>,
    account: Option<Arc<Account>>,
    started: Instant,
    /// Until the outcome is known.
    under_way: Option<Held>,
}

impl Call {
    /// `extensions` are those of the HTTP request: a session's worker runs outside of its span.
    pub(crate) fn begin(metrics: &Arc<Metrics>, tool: &str, extensions: &Extensions) -> Self {
        let user = match extensions.get::<Caller>() {
            Some(Caller::Principal(principal)) => Some(Arc::clone(&principal.subject)),
            Some(Caller::Anonymous) | None => None,
        };
        Self {
            metrics: Arc::clone(metrics),
            tool: tool.to_owned(),
            request: extensions.get::<RequestId>().cloned(),
            user,
            trace: extensions.get().copied(),
            account: Account::of(extensions),
            started: Instant::now(),
            under_way: Some(metrics.tool_call_begins()),
        }
    }

    /// The call's outcome is known. Only the first outcome counts.
    pub(crate) fn finish(&mut self, ok: bool) {
        if self.under_way.take().is_none() {
            return;
        }
        let duration = self.started.elapsed();
        self.metrics.tool_call(&self.tool, ok, duration);
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if let Some(account) = &self.account {
            account.finish(ok);
        }
        let tool_name = &self.tool[..self.tool.floor_char_boundary(LOGGED_NAME)];
        let request_id = self.request.as_ref().map(|id| &*id.0);
        let user_id = self.user.as_deref();
        let result = if ok { "success" } else { "error" };
        let trace_id = self.trace.map(|trace| trace.context.trace_id());
        let trace_id = trace_id.as_deref();
        tracing::info!(tool_name, duration_ms, result, request_id, user_id, trace_id, "tool call");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.finish(false);
    }
}
