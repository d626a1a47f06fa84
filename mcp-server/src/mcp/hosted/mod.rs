//! MCP servers that run in this process: the built-in one, or the handler of a program that uses this crate as its shell.
//! rmcp gives the types and calls the handler; HTTP, sessions, streams and their events are ours.
//!
//! ```text
//! Hosted ── stateless   one request of 2026-07-28: the handler runs in the request's task
//!        └─ legacy      requests of a session ── Session (its calls and streams) ── Line (rmcp's loop, while needed)
//!                                              └─ resume (streams that broke off, also those of a lost replica)
//! request, encode, body   messages and responses as bytes       Stream   events, read once and kept for a while
//! ```

mod body;
mod encode;
mod events;
mod guarded;
mod introduction;
mod legacy;
mod line;
mod request;
mod resume;
mod seal;
mod session;
mod stateless;
mod stream;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::response::Response;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use mcp_server_config::Config;
use mcp_server_config::report::BackendReport;
use rmcp::model::{ErrorData, InitializeRequestParams, ProtocolVersion, RequestMetaObject, ServerResult};
use rmcp::service::Peer;
use rmcp::{RoleServer, ServerHandler};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::events::EventLog;
use self::guarded::Guarded;
use self::line::{Line, Nowhere};
use self::seal::Seal;
use self::session::Session;
pub(super) use self::stream::evicted as evicted_events;
use super::envelope::standard_headers::{self, Mirrored};
use super::envelope::{Envelope, Kind};
use super::error::{Failure, code};
use super::revision::{self, Era};
use super::session::{Gate, Owner};
use crate::auth::Caller;
use crate::metrics::Metrics;
use crate::state::{Replica, State};

/// How often sessions without calls are looked at.
const REST: Duration = Duration::from_secs(5);

/// What answers requests in this process, whatever its type.
pub(crate) trait Served: Send + Sync {
    fn handle(&self, request: Request<Body>) -> BoxFuture<'_, Response>;
    fn report(&self) -> BackendReport;
    fn introduced(&self) -> bool;
    fn sessions(&self) -> usize;
    /// Streams, and bytes of their events.
    fn kept_events(&self) -> (usize, usize);
}

/// What the endpoint gives to the server that it hosts.
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) state: &'a Arc<State>,
    pub(crate) metrics: &'a Arc<Metrics>,
    pub(crate) draining: &'a CancellationToken,
    pub(crate) calls: &'a TaskTracker,
}

/// Makes the handler of a session.
pub(crate) type Factory<S> = Arc<dyn Fn() -> S + Send + Sync>;

/// A handler, and how it is served.
pub(crate) struct Hosting<S> {
    pub(crate) handler: S,
    /// Where each session has a handler of its own.
    pub(crate) factory: Option<Factory<S>>,
    /// What `/server` calls it.
    pub(crate) kind: &'static str,
    /// It says nothing to its clients but answers, and progress where it was asked for.
    pub(crate) quiet: bool,
}

/// See the module.
pub(crate) struct Hosted<S: ServerHandler> {
    /// Serves all requests without a session, and the sessions where there is no factory.
    service: Guarded<S>,
    factory: Option<Factory<S>>,
    /// It sends what no client has asked for.
    speaks: bool,
    mute: Option<Arc<Mute<S>>>,
    shared: Arc<Shared>,
    gate: Arc<Gate<Arc<Session<S>>>>,
    report: ArcSwap<BackendReport>,
    /// The known tools, and which of their arguments are repeated in headers.
    mirrored: ArcSwap<HashMap<String, Option<Mirrored>>>,
    /// What peers of stateless requests are told of their client.
    client: InitializeRequestParams,
    versions: Vec<ProtocolVersion>,
}

/// What all requests share.
struct Shared {
    metrics: Arc<Metrics>,
    state: Arc<State>,
    draining: CancellationToken,
    calls: TaskTracker,
    seal: Seal,
    /// Where events are kept for other replicas.
    events: Option<Arc<EventLog>>,
    /// Its id is in the names of streams and requests.
    replica: Arc<Replica>,
    streams: AtomicU64,
}

/// The one line of a quiet handler, for all requests in which it has nothing to say: a line for each would cost more than
/// its call. Nobody hears what is said there, and its peer knows no client.
struct Mute<S: ServerHandler>(Line<Guarded<S>>);

impl<S: ServerHandler> Mute<S> {
    /// The peer of a request to which there will be an answer and nothing else.
    fn peer(&self, meta: &RequestMetaObject) -> Option<Peer<RoleServer>> {
        meta.get_progress_token().is_none().then(|| self.0.peer().clone())
    }
}

impl Shared {
    /// Whose the request is.
    fn owner(&self, parts: &http::request::Parts) -> Owner {
        let caller = parts.extensions.get::<Caller>().unwrap_or(&Caller::Anonymous);
        Owner::of(caller, self.state.session_key())
    }

    /// A name that no other stream has, here or at another replica. It begins with the replica's.
    fn stream_name(&self) -> String {
        format!("{}.{:x}", self.replica.id(), self.streams.fetch_add(1, Ordering::Relaxed))
    }
}

impl<S: ServerHandler> Hosted<S> {
    /// Call within a tokio runtime.
    pub(crate) fn start(hosting: Hosting<S>, around: &Surroundings<'_>) -> Arc<dyn Served> {
        let Hosting { handler, factory, kind, quiet } = hosting;
        let Surroundings { config, state, metrics, draining, calls } = around;
        let redis = state.session_redis().cloned();
        // What a handler that speaks by itself says, it says in the process that holds the session.
        let speaks = session::speaks(&handler.get_info());
        let gate = match (&redis, state.peers()) {
            (Some(redis), Some(peers)) if speaks => {
                Gate::holding(&config.sessions, Arc::clone(redis), Arc::clone(peers), metrics)
            }
            (redis, _) => Gate::new(&config.sessions, redis.clone(), metrics),
        };
        let gate = Arc::new(gate);
        gate.start_sweeping(&config.sessions);
        let shared = Arc::new(Shared {
            metrics: Arc::clone(metrics),
            state: Arc::clone(state),
            draining: (*draining).clone(),
            calls: (*calls).clone(),
            seal: Seal::new(state.request_state_keys()),
            events: redis.map(|redis| Arc::new(EventLog::new(redis, Arc::clone(state.replica())))),
            replica: Arc::clone(state.replica()),
            streams: AtomicU64::new(0),
        });
        let versions = handler.supported_protocol_versions().into_owned();
        let service = Guarded::new(handler);
        // Handlers of sessions hear what is sent to each.
        let mute = (quiet && factory.is_none()).then(|| Arc::new(Mute(Line::open(service.clone(), None, Nowhere))));
        let report = BackendReport { kind: kind.to_owned(), ..BackendReport::default() };
        let hosted = Arc::new(Self {
            service,
            factory,
            speaks,
            mute,
            shared,
            gate,
            report: ArcSwap::from_pointee(report),
            mirrored: ArcSwap::default(),
            client: stateless::client(),
            versions,
        });
        let this = Arc::downgrade(&hosted);
        tokio::spawn(async move {
            if let Some(hosted) = this.upgrade() {
                hosted.introduce().await;
            }
            loop {
                tokio::time::sleep(REST).await;
                let Some(hosted) = this.upgrade() else { return };
                hosted.gate.for_each(|session| session.rest());
            }
        });
        hosted
    }

    async fn answer(&self, request: Request<Body>) -> Response {
        // The envelope has the body's bytes.
        let (parts, _) = request.into_parts();
        let envelope = parts.extensions.get::<Arc<Envelope>>().cloned();
        let envelope = envelope.as_ref();
        let id = envelope.and_then(|envelope| envelope.id.as_deref());
        if let Err(failure) = self.check_revision(envelope, &parts) {
            return failure.of(id).response();
        }
        if let Some(envelope) = envelope.filter(|envelope| envelope.method() != "initialize")
            && let Err(failure) = standard_headers::check_revision(&parts.headers, envelope)
        {
            return failure.of(id).response();
        }
        match (Era::of(envelope.map(Arc::as_ref), &parts.headers), envelope) {
            (Era::Stateless, Some(envelope)) => match envelope.kind {
                // rmcp would begin a session, or answer some of them as it does in the revisions before.
                Kind::Request if revision::REMOVED.contains(&envelope.method()) => no_such_method().of(id).response(),
                Kind::Request
                    if envelope.meta_version.as_deref().is_some_and(|version| version < revision::STATELESS) =>
                {
                    unsupported(envelope.meta_version.as_deref().unwrap_or_default()).of(id).response()
                }
                Kind::Request => match self.check_standard_headers(&parts, envelope) {
                    Ok(()) => self.stateless(parts, envelope).await,
                    Err(failure) => failure.of(id).response(),
                },
                // Closing the response cancels; there is nothing else that a client could tell.
                Kind::Notification => body::empty(StatusCode::ACCEPTED),
                Kind::Response => revision::no_responses().response(),
            },
            (Era::Stateless, None) => super::method_not_allowed("POST"),
            (Era::Sessions, _) => {
                let owner = self.shared.owner(&parts);
                // Boxed: what sessions need is not room that every request should take.
                let answered = Box::pin(self.legacy(parts, envelope, owner)).await;
                answered.unwrap_or_else(|refusal| refusal.response(id))
            }
        }
    }

    /// What the headers say is what the message says.
    fn check_standard_headers(
        &self,
        parts: &http::request::Parts,
        envelope: &Envelope,
    ) -> Result<(), Failure<'static>> {
        let Some(tool) = envelope.tool() else { return standard_headers::check(&parts.headers, envelope, None) };
        let known = self.mirrored.load();
        match known.get(tool) {
            Some(mirrored) => standard_headers::check(&parts.headers, envelope, mirrored.as_ref()),
            // Added since the handler was asked for its tools.
            None => {
                let tool = self.service.handler().get_tool(tool);
                let mirrored = tool.and_then(|tool| Mirrored::of(&tool.input_schema));
                standard_headers::check(&parts.headers, envelope, mirrored.as_ref())
            }
        }
    }

    /// A revision that is not spoken here is refused; `initialize` negotiates instead.
    fn check_revision(
        &self,
        envelope: Option<&Arc<Envelope>>,
        parts: &http::request::Parts,
    ) -> Result<(), Failure<'static>> {
        let Some(named) = parts.headers.get(revision::HEADER) else { return Ok(()) };
        if envelope.is_some_and(|envelope| envelope.method() == "initialize") {
            return Ok(());
        }
        let named = named.to_str().unwrap_or_default();
        if revision::SUPPORTED.contains(&named) && self.versions.iter().any(|version| version.as_str() == named) {
            return Ok(());
        }
        // Where header and body differ, that is the error.
        let in_body = envelope.and_then(|envelope| envelope.meta_version.as_deref());
        if in_body.is_some_and(|in_body| in_body != named) {
            return Ok(());
        }
        Err(unsupported(named))
    }
}

impl<S: ServerHandler> Served for Hosted<S> {
    fn handle(&self, request: Request<Body>) -> BoxFuture<'_, Response> {
        Box::pin(self.answer(request))
    }

    fn report(&self) -> BackendReport {
        BackendReport::clone(&self.report.load())
    }

    fn introduced(&self) -> bool {
        self.report.load().state == mcp_server_config::report::BackendState::Ready
    }

    fn sessions(&self) -> usize {
        self.gate.len()
    }

    fn kept_events(&self) -> (usize, usize) {
        let mut kept = (0, 0);
        self.gate.for_each(|session| {
            let (streams, bytes) = session.kept_events();
            kept = (kept.0 + streams, kept.1 + bytes);
        });
        kept
    }
}

/// A call has succeeded.
fn outcome(result: &Result<ServerResult, ErrorData>) -> bool {
    match result {
        Ok(ServerResult::CallToolResult(result)) => result.is_error != Some(true),
        Ok(_) => true,
        Err(_) => false,
    }
}

fn unsupported(requested: &str) -> Failure<'static> {
    Failure::new(StatusCode::BAD_REQUEST, code::UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version.")
        .with_data(serde_json::json!({"supported": revision::SUPPORTED, "requested": requested}))
}

fn no_such_method() -> Failure<'static> {
    Failure::new(StatusCode::NOT_FOUND, code::METHOD_NOT_FOUND, "Method not found.")
}

/// In a session the answer is a result of the call; else it has the status that goes with it.
fn unfit(status: StatusCode) -> Failure<'static> {
    Failure::new(status, code::INVALID_PARAMS, "The parameters do not fit the method.")
}
