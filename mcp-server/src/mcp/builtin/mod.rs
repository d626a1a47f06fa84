//! The built-in backend: rmcp serves the typed protocol, and this module stands between it and HTTP. It decides what a
//! session is, whose it is and when it ends; rmcp sees a session's requests only when they are its owner's.

mod server;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use mcp_server_config::Config;
use mcp_server_config::report::{BackendReport, BackendState};
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::StreamableHttpService;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::server::Server;
use super::envelope::Envelope;
use super::error::{Failure, code};
use super::revision::{self, Era};
use super::session::{self, Found, Gate, Local, Manager, Owner, Refusal, Restored, Unanswered, Visit};
use crate::auth::Caller;
use crate::backend;
use crate::metrics::Metrics;
use crate::state::State;

/// Comments keep a silent stream open through proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A session keeps its `initialize` for as long as it lives, here and in redis.
const MAX_INITIALIZE_BYTES: usize = 32 * 1024;

/// The built-in backend.
pub(crate) struct Builtin {
    state: Arc<State>,
    gate: Arc<Gate<Local>>,
    service: StreamableHttpService<Server, Manager>,
    draining: CancellationToken,
    report: BackendReport,
}

impl Builtin {
    pub(crate) fn start(
        config: &Config,
        state: Arc<State>,
        metrics: &Arc<Metrics>,
        draining: &CancellationToken,
        cancelled: &CancellationToken,
        calls: &TaskTracker,
    ) -> Self {
        let gate = Arc::new(Gate::new(&config.sessions, state.session_redis().cloned()));
        gate.start_sweeping(&config.sessions);
        let server = Server::new(&config.server.name, Arc::clone(metrics), draining.clone(), calls.clone());
        metrics.set_known_tools(server.tools().iter().map(|tool| tool.name.to_string()));
        let report = report(&server, &config.server.name);

        // Host and Origin are checked by the shell, before authentication; the size of a body by the envelope.
        let mut rmcp = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_sse_keep_alive(Some(KEEP_ALIVE))
            .with_sse_retry(None)
            .with_json_response(true)
            .with_max_request_body_bytes(usize::MAX)
            .with_cancellation_token(cancelled.child_token());
        // Restoring goes through the store; without redis no record is ever found.
        rmcp.session_store = Some(Arc::new(Restored(Arc::clone(&gate))));
        let manager = Arc::new(Manager::new(Arc::clone(&gate), draining.clone(), calls.clone()));
        let service = StreamableHttpService::new(move || Ok(server.clone()), manager, rmcp);
        Self { state, gate, service, draining: draining.clone(), report }
    }

    pub(crate) fn report(&self) -> BackendReport {
        self.report.clone()
    }

    pub(crate) fn sessions(&self) -> usize {
        self.gate.len()
    }

    pub(crate) async fn handle(&self, request: Request<Body>) -> Response {
        let envelope = request.extensions().get::<Arc<Envelope>>().cloned();
        let envelope = envelope.as_deref();
        let id = envelope.and_then(|envelope| envelope.id.as_deref());
        if let Err(failure) = check_revision(envelope, &request) {
            return failure.of(id).response();
        }
        match Era::of(envelope, request.headers()) {
            Era::Stateless => self.stateless(request, envelope, id).await,
            Era::Sessions => {
                self.in_session(request, envelope, id).await.unwrap_or_else(|refusal| refusal.response(id))
            }
        }
    }

    async fn stateless(
        &self,
        mut request: Request<Body>,
        envelope: Option<&Envelope>,
        id: Option<&RawValue>,
    ) -> Response {
        if request.method() != Method::POST {
            return super::method_not_allowed("POST");
        }
        match envelope.map_or("", Envelope::method) {
            // rmcp would begin a session.
            "initialize" => {
                return Failure::new(StatusCode::NOT_FOUND, code::METHOD_NOT_FOUND, "Method not found.")
                    .of(id)
                    .response();
            }
            "subscriptions/listen" if self.draining.is_cancelled() => return Refusal::Draining.response(id),
            _ => {}
        }
        // This era has no sessions. The header must not lead into one past its owner's check.
        request.headers_mut().remove(session::HEADER);
        plain(self.service.handle(request).await, id)
    }

    async fn in_session(
        &self,
        mut request: Request<Body>,
        envelope: Option<&Envelope>,
        id: Option<&RawValue>,
    ) -> Result<Response, Refusal> {
        let caller = request.extensions().get::<Caller>().unwrap_or(&Caller::Anonymous);
        let owner = Owner::of(caller, self.state.session_key());
        if let Some(envelope) = envelope.filter(|envelope| envelope.method() == "initialize") {
            if envelope.bytes.len() > MAX_INITIALIZE_BYTES {
                return Ok(initialize_too_large().of(id).response());
            }
            if self.draining.is_cancelled() {
                return Err(Refusal::Draining);
            }
            self.gate.check_room()?;
            // A client that begins anew may still send the id of the session that it lost.
            request.headers_mut().remove(session::HEADER);
            return self.visit(request, Visit::new(owner, None), id).await;
        }

        let name = request.headers().get(session::HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let name = name.as_deref();
        let found = self.gate.find(name, &owner).await?;
        match *request.method() {
            Method::DELETE => {
                self.gate.end(name.unwrap_or_default()).await?;
                return Ok(empty(StatusCode::NO_CONTENT));
            }
            Method::GET if self.draining.is_cancelled() => return Err(Refusal::Draining),
            _ => {}
        }
        if matches!(found, Found::Here(_)) {
            return self.visit(request, Visit::new(owner, None), id).await;
        }
        let _turn = self.gate.turn(name.unwrap_or_default()).await;
        let record = match self.gate.find(name, &owner).await? {
            Found::Here(_) => None,
            Found::Known(record) => Some(record),
        };
        self.visit(request, Visit::new(owner, record), id).await
    }

    /// Lets rmcp answer. A session that was opened or taken over for a request that failed is let go of.
    async fn visit(
        &self,
        request: Request<Body>,
        visit: Arc<Visit>,
        id: Option<&RawValue>,
    ) -> Result<Response, Refusal> {
        let mut unanswered = Unanswered::new(&self.gate, &visit);
        let response = visit.scope(self.service.handle(request)).await;
        unanswered.answered(visit.refused().is_none() && response.status().is_success());
        drop(unanswered);
        settle(&visit, response, id)
    }
}

/// What becomes of rmcp's response.
fn settle<B>(visit: &Visit, response: http::Response<B>, id: Option<&RawValue>) -> Result<Response, Refusal>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    match visit.refused() {
        Some(refusal) => Err(refusal),
        // The gate has found it: a neighbour failed to take it over. The next request learns whether it is there.
        None if response.status() == StatusCode::NOT_FOUND && !is_json(&response) => Err(Refusal::Unavailable),
        None => Ok(plain(response, id)),
    }
}

/// A revision that nobody here speaks is refused; `initialize` negotiates instead.
fn check_revision<T>(envelope: Option<&Envelope>, request: &Request<T>) -> Result<(), Failure<'static>> {
    let Some(named) = request.headers().get(revision::HEADER) else { return Ok(()) };
    if envelope.is_some_and(|envelope| envelope.method() == "initialize") {
        return Ok(());
    }
    let named = named.to_str().unwrap_or_default();
    if revision::SUPPORTED.contains(&named) {
        return Ok(());
    }
    // Where header and body differ, that is the error: rmcp tells it.
    let in_body = envelope.and_then(|envelope| envelope.meta_version.as_deref());
    if in_body.is_some_and(|in_body| in_body != named) {
        return Ok(());
    }
    Err(Failure::new(StatusCode::BAD_REQUEST, code::UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version.")
        .with_data(serde_json::json!({"supported": revision::SUPPORTED, "requested": named})))
}

/// The response of rmcp, with a JSON-RPC error of ours where it has plain text of its own, which may hold anything.
fn plain<B>(response: http::Response<B>, id: Option<&RawValue>) -> Response
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let status = response.status();
    if status.is_success() || is_json(&response) {
        return response.map(Body::new);
    }
    let (status, code, message) = match status {
        StatusCode::NOT_FOUND => return Refusal::NotFound.response(id),
        StatusCode::METHOD_NOT_ALLOWED => return super::method_not_allowed("POST"),
        StatusCode::NOT_ACCEPTABLE => (status, code::TRANSPORT, "The header Accept must list text/event-stream."),
        // The envelope has checked the type: what rmcp cannot read is the message.
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            (StatusCode::BAD_REQUEST, code::INVALID_PARAMS, "The message does not fit its method.")
        }
        status if status.is_client_error() => {
            (status, code::INVALID_REQUEST, "The request does not fit its protocol revision.")
        }
        status => {
            tracing::error!(status = status.as_u16(), "the protocol library failed");
            (status, code::INTERNAL_ERROR, "Internal error.")
        }
    };
    Failure::new(status, code, message).of(id).response()
}

fn is_json<B>(response: &http::Response<B>) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|value| value == HeaderValue::from_static("application/json"))
}

fn initialize_too_large() -> Failure<'static> {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, code::INVALID_REQUEST, "The initialize request is too large.")
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The built-in server needs no handshake: it is here.
fn report(server: &Server, name: &str) -> BackendReport {
    let tools: Vec<_> = server.tools().iter().filter_map(|tool| serde_json::to_value(tool).ok()).collect();
    BackendReport {
        kind: "builtin".to_owned(),
        state: BackendState::Ready,
        error: None,
        server_name: Some(name.to_owned()),
        server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        protocol_versions: revision::SUPPORTED.map(str::to_owned).to_vec(),
        tools: u32::try_from(tools.len()).ok(),
        tools_digest: Some(backend::digest(&tools)),
        reachable_directly: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_got_lost_on_the_way_is_asked_for_again_before_the_client_gives_it_up() {
        let visit = Visit::new(Owner::of(&Caller::Anonymous, &crate::state::SessionKey::random()), None);
        let mut response = http::Response::new(Body::from("Not Found: Session not found"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        assert_eq!(settle(&visit, response, None).map(drop), Err(Refusal::Unavailable));
        let unknown = Failure::new(StatusCode::NOT_FOUND, code::METHOD_NOT_FOUND, "Method not found.").response();
        assert_eq!(settle(&visit, unknown, None).expect("rmcp's own").status(), StatusCode::NOT_FOUND);
    }
}
