//! The MCP endpoint, behind the shell's layers.
//!
//! ```text
//! envelope  one look into the message, what is wrong with it is refused
//! Endpoint  time limits, drain        ── hosted: a handler in this process   ── session: whose, how many, how long
//!                                     └─ container: bytes through crate::backend
//! ```

pub(crate) mod body;
mod builtin;
pub(crate) mod calls;
pub mod envelope;
pub(crate) mod error;
mod hosted;
mod memory;
pub(crate) mod revision;
pub(crate) mod session;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use mcp_server_config::Config;
use mcp_server_config::report::BackendReport;
use rmcp::ServerHandler;
use serde_json::value::RawValue;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::body::{Farewell, Lasting, Whole, held};
use self::builtin::Server;
pub use self::envelope::Envelope;
use self::error::{Failure, code};
use self::hosted::{Factory, Hosted, Hosting, Served, Surroundings};
use crate::backend::Container;
use crate::metrics::Metrics;
use crate::state::State;

/// Why the endpoint cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The backend's section of the configuration is wrong.
    #[error("backend: {0}")]
    Backend(String),
    /// The program brings its own server, and the configuration names another.
    #[error("backend.{0}: this program is the server itself: leave the section out")]
    TwoBackends(&'static str),
}

/// A server of the program's own, whatever its type.
pub struct Handler {
    start: Start,
    quiet: bool,
}

/// Begins to serve it; the flag is [`Handler::quiet`].
type Start = Box<dyn FnOnce(&Surroundings<'_>, bool) -> Arc<dyn Served> + Send>;

impl Handler {
    /// One value serves everybody.
    #[must_use]
    pub fn new<S: ServerHandler>(handler: S) -> Self {
        Self::starting(handler, None)
    }

    /// `make` makes a value for each session; one more serves the requests that stand alone.
    #[must_use]
    pub fn per_session<S: ServerHandler>(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        let factory: Factory<S> = Arc::new(make);
        Self::starting(factory(), Some(factory))
    }

    fn starting<S: ServerHandler>(handler: S, factory: Option<Factory<S>>) -> Self {
        let start: Start =
            Box::new(move |around, quiet| Hosted::start(Hosting { handler, factory, kind: LIBRARY, quiet }, around));
        Self { start, quiet: false }
    }

    /// The handler says nothing through `context.peer` but progress of requests that carry a progress token: no log
    /// messages, no changes of lists, no questions. Nothing is prepared then for what it might say, which saves a good part
    /// of a call; what it says all the same is heard by nobody. What it wants to know of its client, it asks the context
    /// (`client_info`, `client_capabilities`, `protocol_version`), not the peer. A handler per session stays as it is.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }
}

/// What `/server` calls such a backend.
const LIBRARY: &str = "library";

/// `mcp_event_store_evicted_total`.
#[must_use]
pub fn evicted_events() -> prometheus::IntCounter {
    hosted::evicted_events()
}

/// What answers `<path>`.
pub struct Endpoint {
    backend: Backend,
    /// The longest time of one stream or call.
    time_limit: Duration,
    /// Calls under way.
    calls: TaskTracker,
    draining: CancellationToken,
    cancelled: CancellationToken,
    _workers: DropGuard,
}

enum Backend {
    Hosted(Arc<dyn Served>),
    Container(Arc<Container>),
}

impl Endpoint {
    /// Starts the backend and the handshake with it, which goes on in the background.
    pub async fn start(config: &Config, state: Arc<State>, metrics: Arc<Metrics>) -> Result<Arc<Self>, StartError> {
        Self::start_with(config, state, metrics, None).await
    }

    /// The same with a server of the program's own in place of the built-in one.
    pub async fn start_with(
        config: &Config,
        state: Arc<State>,
        metrics: Arc<Metrics>,
        handler: Option<Handler>,
    ) -> Result<Arc<Self>, StartError> {
        let calls = TaskTracker::new();
        let draining = CancellationToken::new();
        let workers = CancellationToken::new();
        let around = Surroundings { config, state: &state, metrics: &metrics, draining: &draining, calls: &calls };
        let backend = match &config.backend {
            mcp_server_config::Backend::Builtin(_) => Backend::Hosted(match handler {
                Some(handler) => (handler.start)(&around, handler.quiet),
                None => {
                    let handler = Server::new(&config.server.name);
                    Hosted::start(Hosting { handler, factory: None, kind: "builtin", quiet: true }, &around)
                }
            }),
            _ if handler.is_some() => return Err(StartError::TwoBackends(config.backend.kind())),
            mcp_server_config::Backend::Container(section) => Backend::Container(
                Container::start(config, section, state, metrics, &draining, &workers).map_err(StartError::Backend)?,
            ),
        };
        Ok(Arc::new(Self {
            backend,
            time_limit: Duration::from_secs(config.server.stream_timeout_seconds.max(1).into()),
            calls,
            draining,
            cancelled: CancellationToken::new(),
            _workers: workers.drop_guard(),
        }))
    }

    /// Answers one request. Its extensions hold [`crate::auth::Caller`], [`crate::http::Asked`],
    /// [`crate::http::Client`], [`crate::http::RequestId`] and, for a POST, the [`Envelope`].
    pub async fn handle(&self, request: Request<Body>) -> Response {
        let envelope = request.extensions().get::<Arc<Envelope>>().cloned();
        let id = envelope.as_deref().and_then(|envelope| envelope.id.as_deref());
        if let Some(refusal) = refuse(&request, envelope.as_deref()) {
            return refusal;
        }
        let listens = envelope.as_deref().is_none_or(|envelope| envelope.method() == "subscriptions/listen");
        let under_way = (!listens).then(|| self.calls.token());

        let deadline = tokio::time::Instant::now() + self.time_limit;
        // In a box: what a backend keeps while it works is much more than what the layers do.
        let answer = match &self.backend {
            Backend::Hosted(hosted) => hosted.handle(request),
            Backend::Container(container) => container.handle(request).boxed(),
        };
        tokio::select! {
            // The answer first: most are there at once, and need no timer.
            biased;
            response = answer => self.lasting(response, deadline, under_way, id),
            () = tokio::time::sleep_until(deadline) => timed_out().of(id).response(),
            () = self.cancelled.cancelled() => ended().of(id).response(),
        }
    }

    /// Gives the body of a response its limits.
    fn lasting(
        &self,
        response: Response,
        deadline: tokio::time::Instant,
        under_way: Option<TaskTrackerToken>,
        id: Option<&RawValue>,
    ) -> Response {
        if response.extensions().get::<Whole>().is_some() {
            return match under_way {
                Some(token) => response.map(|inner| held(inner, token)),
                None => response,
            };
        }
        let cancelled = self.cancelled.clone();
        let end = async move {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = cancelled.cancelled() => {}
            }
        };
        let farewell = match (is_event_stream(response.headers()), &under_way) {
            (false, _) => Farewell::BreakOff,
            (true, Some(_)) => Farewell::Event(farewell(id)),
            // Only a call is owed an answer.
            (true, None) => Farewell::Nothing,
        };
        response.map(|inner| Body::new(Lasting::new(inner, end, farewell, under_way)))
    }

    /// The handshake's result, for `/server`.
    #[must_use]
    pub fn report(&self) -> BackendReport {
        match &self.backend {
            Backend::Hosted(hosted) => hosted.report(),
            Backend::Container(container) => container.report(),
        }
    }

    /// The handshake has succeeded once: gates `/readyz`.
    #[must_use]
    pub fn ready_once(&self) -> bool {
        match &self.backend {
            Backend::Hosted(hosted) => hosted.introduced(),
            Backend::Container(container) => container.ready_once(),
        }
    }

    /// Sessions that this process holds.
    #[must_use]
    pub fn sessions(&self) -> usize {
        match &self.backend {
            Backend::Hosted(hosted) => hosted.sessions(),
            Backend::Container(container) => container.sessions(),
        }
    }

    /// Streams, and bytes of their events, that are kept for clients which come again.
    #[must_use]
    pub fn kept_events(&self) -> (usize, usize) {
        match &self.backend {
            Backend::Hosted(hosted) => hosted.kept_events(),
            // They are the backend's.
            Backend::Container(_) => (0, 0),
        }
    }

    /// From now on new sessions and listens are refused, and idle streams end.
    pub fn begin_drain(&self) {
        self.draining.cancel();
        self.calls.close();
    }

    /// Resolves when no call is under way. Call after [`Endpoint::begin_drain`].
    pub async fn in_flight_done(&self) {
        self.calls.wait().await;
    }

    /// Ends every call and stream that is left; calls are told.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }
}

/// What no backend is asked for.
fn refuse(request: &Request<Body>, envelope: Option<&Envelope>) -> Option<Response> {
    match *request.method() {
        Method::POST if envelope.is_none() => {
            tracing::error!("a POST reached the endpoint without its envelope: the layers are in the wrong order");
            Some(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL_ERROR, "Internal error.").response())
        }
        Method::GET if !envelope::accepts_events(request.headers()) => Some(
            Failure::new(StatusCode::NOT_ACCEPTABLE, code::TRANSPORT, "The header Accept must list text/event-stream.")
                .response(),
        ),
        Method::POST | Method::GET | Method::DELETE => None,
        _ => Some(method_not_allowed("GET, POST, DELETE")),
    }
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = Failure::new(StatusCode::METHOD_NOT_ALLOWED, code::TRANSPORT, "Method not allowed.").response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn timed_out() -> Failure<'static> {
    Failure::new(StatusCode::GATEWAY_TIMEOUT, code::INTERNAL_ERROR, "The call took too long.")
}

fn ended() -> Failure<'static> {
    Failure::busy("This server is shutting down. Try again.", Duration::from_secs(1))
}

/// The last event of a call that is cut off.
pub(crate) fn farewell(id: Option<&RawValue>) -> Bytes {
    const ERROR: &str = r#""error":{"code":-32603,"message":"The call was ended before its result."}"#;
    // A proxied stream may have been cut within an event: end that one first.
    Bytes::from(match id {
        Some(id) => format!("\n\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{},{ERROR}}}\n\n", id.get()),
        None => format!("\n\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",{ERROR}}}\n\n"),
    })
}

pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}
