//! The audit stream: one JSON line for each request to the endpoint, when its response is complete. It says who asked for
//! what, what was decided and how it ended; never an argument, a result, a token or a session.
//!
//! It is apart from the logs, in files or a console of its own, and its lines wait in the same kind of [`Writer`]: a request
//! never waits for the disk. Lines that cannot be kept are counted in `mcp_audit_dropped_total`, and the log says so.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use mcp_server_config::Audit as Section;
use prometheus::Registry;
use serde::Serialize;

use crate::auth::{Caller, Principal};
use crate::logging::{OpenError, Writer};
use crate::metrics::register::counter;

/// Longer names are cut, in bytes: a client may send anything.
const LONGEST: usize = 256;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Why the stream cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The metric is there already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The configured handlers.
pub struct Audit(Vec<Writer>);

/// One line. `docs/observability.md` explains each member.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    timestamp: String,
    pub(crate) request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    /// `principal`, `anonymous`, or `unknown` where the request was refused before that was found out.
    caller: &'static str,
    principal: Option<Who<'a>>,
    pub(crate) client: IpAddr,
    pub(crate) http_method: &'a str,
    /// The method of the message.
    method: Option<&'a str>,
    /// The tool, prompt or resource.
    name: Option<&'a str>,
    decision: &'static str,
    reason: Option<&'static str>,
    pub(crate) status: u16,
    result: Option<&'static str>,
    pub(crate) duration_ms: u64,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Who<'a> {
    issuer: &'a str,
    subject: &'a str,
    client_id: Option<&'a str>,
}

/// What an [`Entry`] is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// As in the logs and the response.
    pub request_id: &'a str,
    /// Where the request is part of a trace.
    pub trace_id: Option<String>,
    /// As far as it was found out.
    pub caller: Option<&'a Caller>,
    /// The client's address.
    pub client: IpAddr,
    /// GET, POST or DELETE.
    pub http_method: &'a str,
    /// The method of the message.
    pub method: Option<&'a str>,
    /// `params.name` or `params.uri`.
    pub name: Option<&'a str>,
    /// Why it was refused, if it was.
    pub denied: Option<&'static str>,
    /// The status of the response.
    pub status: u16,
    /// The tool call's outcome.
    pub succeeded: Option<bool>,
    /// How long it took until the response was complete.
    pub duration: Duration,
    /// The body of the request.
    pub request_bytes: u64,
    /// The body of the response.
    pub response_bytes: u64,
}

impl<'a> Entry<'a> {
    /// The line of those facts.
    #[must_use]
    pub fn of(facts: Facts<'a>, now: Timestamp) -> Self {
        let Facts {
            request_id,
            trace_id,
            caller,
            client,
            http_method,
            method,
            name,
            denied,
            status,
            succeeded,
            duration,
            request_bytes,
            response_bytes,
        } = facts;
        let (caller, principal) = match caller {
            Some(Caller::Principal(principal)) => ("principal", Some(who(principal))),
            Some(Caller::Anonymous) => ("anonymous", None),
            None => ("unknown", None),
        };
        let ok = succeeded.unwrap_or(status < 400);
        Self {
            timestamp: format!("{now:.6}"),
            request_id,
            trace_id,
            caller,
            principal,
            client,
            http_method,
            method: method.map(shortened),
            name: name.filter(|_| method.is_some_and(has_name)).map(without_query).map(shortened),
            decision: if denied.is_some() { "denied" } else { "allowed" },
            reason: denied,
            status,
            result: denied.is_none().then_some(if ok { "success" } else { "error" }),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            request_bytes,
            response_bytes,
        }
    }
}

impl Audit {
    /// Opens the handlers; `None` where there is none.
    pub fn open(section: &Section, registry: &Registry) -> Result<Option<Self>, StartError> {
        let dropped = counter(registry, "mcp_audit_dropped_total", "Audit lines that could not be written")?;
        if section.is_off() {
            return Ok(None);
        }
        let open = |handler| Writer::open("audit", handler, dropped.clone());
        Ok(Some(Self(section.handlers.iter().map(open).collect::<Result<_, _>>()?)))
    }

    /// Never waits.
    pub fn write(&self, entry: &Entry<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            // Strings and numbers into memory: neither fails.
            if serde_json::to_writer(&mut *line, entry).is_ok() {
                line.push(b'\n');
                self.0.iter().for_each(|writer| writer.write(line));
            }
        });
    }

    /// Waits until all lines are written, but not for long.
    pub fn flush(&self) {
        self.0.iter().for_each(|writer| writer.flush(LAST_LINES));
    }

    /// Opens the files anew: they have been moved away.
    pub fn reopen(&self) {
        self.0.iter().for_each(Writer::reopen);
    }
}

fn who(principal: &Principal) -> Who<'_> {
    Who { issuer: &principal.issuer, subject: &principal.subject, client_id: principal.client_id.as_deref() }
}

/// The methods whose `params.name` or `params.uri` says what is asked for. Elsewhere it may be anything.
fn has_name(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read" | "resources/subscribe" | "resources/unsubscribe")
}

/// What follows in a URI are arguments.
fn without_query(name: &str) -> &str {
    name.split(['?', '#']).next().unwrap_or_default()
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}
