//! One request through to a container's MCP server and its response back. Messages pass as bytes, so that whatever the
//! backend and the client agree on survives; what changes is the envelope around them: headers, and the names of sessions.
//!
//! A session's name at the backend is never shown. The client gets one of ours, bound to its principal. A session lives
//! in the container beside the process that opened it; a request that lands on another replica is forwarded to that
//! process ([`crate::peers`]), which redis names. Without redis or keys it is told that there is no such session, and the
//! client begins anew. A container that is declared stateless may be asked by any replica: there any of them takes over
//! the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use mcp_server_config::report::BackendReport;
use mcp_server_config::{Config, Container as Section};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::answer::essence;
use super::handshake::Handshake;
use super::headers;
use super::pass::{Pass, Shape};
use super::upstream::Upstream;
use crate::auth::Caller;
use crate::mcp::body::{Farewell, Lasting};
use crate::mcp::calls::Call;
use crate::mcp::envelope::{Envelope, Kind, standard_headers};
use crate::mcp::error::{Failure, code};
use crate::mcp::method_not_allowed;
use crate::mcp::revision::{self, Era};
use crate::mcp::session::{self, Beginning, Content, Entry, Found, Gate, Owner, Refusal};
use crate::metrics::Metrics;
use crate::state::State;
use crate::wire::{Fault, Reply};

/// A single answer may be that large. Streams of events have no limit but time.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// For telling the backend that a session is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The backend `container`.
pub(crate) struct Container {
    upstream: Arc<Upstream>,
    handshake: Arc<Handshake>,
    gate: Arc<Gate<Remote>>,
    /// Any replica's backend serves any session.
    shared: bool,
    state: Arc<State>,
    metrics: Arc<Metrics>,
    draining: CancellationToken,
}

/// A session at the backend.
pub(crate) struct Remote {
    upstream: Arc<Upstream>,
    name: HeaderValue,
    /// The backend knows that it is over, or must not be told.
    over: AtomicBool,
}

impl Content for Remote {
    fn ended(&self, _id: &Arc<str>) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        let (upstream, name) = (Arc::clone(&self.upstream), self.name.clone());
        tokio::spawn(async move {
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(session::HEADER), name)]);
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, upstream.send(Method::DELETE, headers, Bytes::new())).await;
        });
    }
}

/// What is known of a request before it is sent.
struct Asked<'a> {
    envelope: Option<&'a Envelope>,
    id: Option<&'a RawValue>,
    owner: Owner,
    session: Option<Arc<Entry<Remote>>>,
    /// The session that the request begins, if the backend agrees.
    begun: Option<Beginning>,
}

/// Where a request goes on.
enum Entered {
    /// To the backend beside this process, in that session or in none.
    Here(Option<Arc<Entry<Remote>>>),
    /// To the backend beside this process, for a session.
    Begins(Beginning),
    /// It was forwarded, and this is the answer.
    Elsewhere(Response),
}

impl Asked<'_> {
    fn method(&self) -> &str {
        self.envelope.map_or("", Envelope::method)
    }
}

impl Container {
    pub(crate) fn start(
        config: &Config,
        section: &Section,
        state: Arc<State>,
        metrics: Arc<Metrics>,
        draining: &CancellationToken,
        workers: &CancellationToken,
    ) -> Result<Arc<Self>, String> {
        let upstream = Arc::new(Upstream::new(&section.url)?);
        let redis = state.session_redis();
        let shared = section.stateless && redis.is_some();
        let gate = Arc::new(match (redis, state.peers()) {
            (Some(redis), Some(peers)) if !section.stateless => {
                Gate::holding(&config.sessions, Arc::clone(redis), Arc::clone(peers), &metrics)
            }
            (redis, _) => Gate::new(&config.sessions, redis.filter(|_| section.stateless).cloned(), &metrics),
        });
        gate.start_sweeping(&config.sessions);
        let handshake = Handshake::start(section.url.clone(), Arc::clone(&upstream), Arc::clone(&metrics), workers);
        Ok(Arc::new(Self { upstream, handshake, gate, shared, state, metrics, draining: draining.clone() }))
    }

    pub(crate) fn report(&self) -> BackendReport {
        self.handshake.report()
    }

    pub(crate) fn ready_once(&self) -> bool {
        self.handshake.succeeded_once()
    }

    pub(crate) fn sessions(&self) -> usize {
        self.gate.len()
    }

    pub(crate) async fn handle(&self, request: Request<Body>) -> Response {
        // The envelope has the body's bytes.
        let (request, _) = request.into_parts();
        let envelope = request.extensions.get::<Arc<Envelope>>().cloned();
        let envelope = envelope.as_deref();
        let id = envelope.and_then(|envelope| envelope.id.as_deref());
        let caller = request.extensions.get::<Caller>().unwrap_or(&Caller::Anonymous);
        let owner = Owner::of(caller, self.state.session_key());
        let mut asked = Asked { envelope, id, owner, session: None, begun: None };

        let era = Era::of(envelope, &request.headers);
        if let Some(envelope) = envelope
            && let Err(failure) = self.check(era, envelope, &request.headers)
        {
            return failure.of(id).response();
        }
        match era {
            Era::Stateless if request.method != Method::POST => return method_not_allowed("POST"),
            Era::Stateless => {}
            Era::Sessions => match self.enter(&request, &asked).await {
                Ok(Entered::Here(session)) => asked.session = session,
                Ok(Entered::Begins(begun)) => asked.begun = Some(begun),
                Ok(Entered::Elsewhere(answer)) => return answer,
                Err(refusal) => return refusal.response(id),
            },
        }
        let begins = request.method == Method::GET || matches!(asked.method(), "initialize" | "subscriptions/listen");
        if begins && self.draining.is_cancelled() {
            return Refusal::Draining.response(id);
        }
        self.forward(&request, asked).await
    }

    /// What the protocol wants of a message on HTTP, whatever the backend would let pass.
    fn check(&self, era: Era, envelope: &Envelope, headers: &HeaderMap) -> Result<(), Failure<'static>> {
        if envelope.method() == "initialize" && era == Era::Sessions {
            return Ok(());
        }
        standard_headers::check_revision(headers, envelope)?;
        revision::check(headers)?;
        match (era, envelope.kind) {
            (Era::Sessions, _) | (Era::Stateless, Kind::Notification) => Ok(()),
            (Era::Stateless, Kind::Response) => Err(revision::no_responses()),
            (Era::Stateless, Kind::Request) if envelope.meta_version.is_none() => Err(Failure::new(
                StatusCode::BAD_REQUEST,
                code::INVALID_PARAMS,
                "The member _meta lacks the protocol revision.",
            )),
            (Era::Stateless, Kind::Request) => {
                let mirrored = self.handshake.mirrored(envelope.tool());
                standard_headers::check(headers, envelope, mirrored.as_ref())
            }
        }
    }

    /// The session that the request is in, if it names one. Without a name the backend decides whether it needs one.
    async fn enter(&self, request: &Parts, asked: &Asked<'_>) -> Result<Entered, Refusal> {
        if asked.method() == "initialize" {
            return self.gate.begin(&request.extensions).await.map(Entered::Begins);
        }
        let Some(name) = request.headers.get(session::HEADER) else { return Ok(Entered::Here(None)) };
        let name = name.to_str().map_err(|_| Refusal::NotFound)?;
        match self.gate.find(Some(name), &asked.owner).await? {
            Found::Here(entry) => Ok(Entered::Here(Some(entry))),
            Found::Elsewhere(holder) => {
                let peers = self.state.peers().ok_or(Refusal::NotFound)?;
                let body = asked.envelope.map(|envelope| envelope.bytes.clone()).unwrap_or_default();
                peers.forward(request, body, &holder).await.map(Entered::Elsewhere)
            }
            Found::Known(record) => {
                let theirs = HeaderValue::from_str(&record.content).map_err(|_| Refusal::NotFound)?;
                let entry = self.gate.take_over(name.into(), asked.owner, record, self.remote(&theirs))?;
                Ok(Entered::Here(Some(entry)))
            }
        }
    }

    fn remote(&self, name: &HeaderValue) -> Remote {
        // A copy: the value itself is a part of its connection's buffer, which could not be used again while the session lives.
        let name = HeaderValue::from_bytes(name.as_bytes()).unwrap_or_else(|_| name.clone());
        // A shared session goes on at other replicas when this one lets go of it.
        Remote { upstream: Arc::clone(&self.upstream), name, over: AtomicBool::new(self.shared) }
    }

    async fn forward(&self, request: &Parts, mut asked: Asked<'_>) -> Response {
        let theirs = asked.session.as_ref().map(|entry| &entry.content.name);
        let headers = headers::to_backend(&request.headers, &request.extensions, theirs);
        let body = asked.envelope.map(|envelope| envelope.bytes.clone()).unwrap_or_default();
        let call =
            asked.envelope.and_then(Envelope::tool).map(|tool| Call::begin(&self.metrics, tool, &request.extensions));

        let response = match self.upstream.send(request.method.clone(), headers, body).await {
            Ok(response) => response,
            Err(fault) => {
                self.handshake.nudge();
                return unanswered(fault).of(asked.id).response();
            }
        };
        if let Some(entry) = &asked.session
            && response.status() == StatusCode::NOT_FOUND
        {
            // The backend was restarted, or has ended the session by itself.
            entry.content.over.store(true, Ordering::Relaxed);
            let _ = self.gate.end(&entry.id).await;
            return Refusal::NotFound.response(asked.id);
        }
        if let Some(done) = self.without_answer(&request.method, &asked, response.status()).await {
            return done;
        }
        let theirs = response.headers().get(session::HEADER).filter(|_| response.status().is_success());
        let opened = match asked.begun.take().zip(theirs) {
            Some((begun, theirs)) => match self.open(begun, theirs, asked.owner).await {
                Ok(opened) => Some(opened),
                Err(refusal) => return refusal.response(asked.id),
            },
            None => None,
        };
        self.answer(response, &request.method, &asked, call, opened.as_deref())
    }

    /// Gives the backend's new session a name of ours.
    async fn open(&self, begun: Beginning, theirs: &HeaderValue, owner: Owner) -> Result<Arc<str>, Refusal> {
        let name = Arc::clone(&begun.id);
        let entry = self.gate.hold(begun, owner, self.remote(theirs)).inspect_err(|_| {
            // No room after all: the backend must not keep it either.
            let refused = self.remote(theirs);
            refused.over.store(false, Ordering::Relaxed);
            refused.ended(&name);
        })?;
        let content = theirs.to_str().map_err(|_| Refusal::Unavailable)?.to_owned();
        if let Err(refusal) = self.gate.publish(&entry, content).await {
            entry.content.over.store(false, Ordering::Relaxed);
            self.gate.give_up(&entry.id).await;
            return Err(refusal);
        }
        Ok(name)
    }

    /// Where the client is owed no answer, what the backend writes beside a status of success does not count: frameworks
    /// write all sorts of things.
    async fn without_answer(&self, method: &Method, asked: &Asked<'_>, status: StatusCode) -> Option<Response> {
        if *method == Method::DELETE {
            return self.deleted(asked, status).await.then(|| empty(StatusCode::NO_CONTENT));
        }
        let kind = asked.envelope?.kind;
        let accepted = status.is_success() && matches!(kind, Kind::Notification | Kind::Response);
        accepted.then(|| empty(StatusCode::ACCEPTED))
    }

    /// The client has asked for the end of its session. A backend that answers 405 keeps sessions until they are old; the
    /// name is ours, so for the client it is over all the same. Returns whether it is.
    async fn deleted(&self, asked: &Asked<'_>, status: StatusCode) -> bool {
        let Some(entry) = &asked.session else { return status.is_success() };
        let over = status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED;
        if over {
            entry.content.over.store(true, Ordering::Relaxed);
            let _ = self.gate.end(&entry.id).await;
        }
        over
    }

    /// The response for the client.
    fn answer(
        &self,
        response: http::Response<Reply>,
        method: &Method,
        asked: &Asked<'_>,
        call: Option<Call>,
        opened: Option<&str>,
    ) -> Response {
        let status = response.status();
        let media_type = essence(response.headers());
        let is_event_stream = media_type == "text/event-stream";
        if let Some(failure) = unusable(status, &media_type, response.headers()) {
            return failure.of(asked.id).response();
        }

        let mut headers = headers::to_client(response.headers(), is_event_stream);
        if let Some(name) = opened.and_then(|name| HeaderValue::from_str(name).ok()) {
            headers.insert(session::HEADER, name);
        }
        let shape = match is_event_stream {
            true => Shape::events(asked.id),
            false => Shape::document(MAX_ANSWER_BYTES),
        };
        let body = Pass::new(response.into_body(), call, shape, asked.session.as_ref().map(Entry::streaming));
        let body = match goodbye(method, asked).filter(|_| is_event_stream) {
            Some(goodbye) => self.until_drained(Body::new(body), goodbye),
            None => Body::new(body),
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        answer
    }

    /// A stream that belongs to no call ends when the process does.
    fn until_drained(&self, inner: Body, goodbye: Bytes) -> Body {
        let draining = self.draining.clone();
        let end = async move { draining.cancelled().await };
        Body::new(Lasting::new(inner, end, Farewell::Event(goodbye), None))
    }
}

/// What ends a stream that belongs to no call: a hint to come again soon, or the result of the listen.
fn goodbye(method: &Method, asked: &Asked<'_>) -> Option<Bytes> {
    if *method == Method::GET {
        return Some(Bytes::from_static(b"\n\nretry: 1000\n\n"));
    }
    let id = asked.id.filter(|_| asked.method() == "subscriptions/listen")?.get();
    Some(Bytes::from(format!(
        "\n\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"resultType\":\"complete\",\
         \"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{id}}}}}}}\n\n"
    )))
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn unanswered(fault: Fault) -> Failure<'static> {
    let message = match fault {
        Fault::Refused | Fault::Silent => "The backend cannot be reached.",
        Fault::Broken => "The backend closed the connection before it answered.",
    };
    Failure::new(StatusCode::BAD_GATEWAY, code::INTERNAL_ERROR, message)
}

/// A response that must not reach the client: it is no MCP, or it would mean something else there.
fn unusable(status: StatusCode, media_type: &str, headers: &HeaderMap) -> Option<Failure<'static>> {
    let gateway = |message| Some(Failure::new(StatusCode::BAD_GATEWAY, code::INTERNAL_ERROR, message));
    let is_mcp = matches!(media_type, "application/json" | "text/event-stream");
    match status {
        // To a client these would speak of its own token, or send it past us.
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            gateway("The backend refused the runtime's request.")
        }
        status if status.is_redirection() => gateway("The backend answered with a redirect."),
        status if status.is_success() && (is_mcp || media_type.is_empty()) => {
            let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            let too_large = media_type == "application/json" && length.is_some_and(|length| length > MAX_ANSWER_BYTES);
            if too_large { gateway("The backend's answer is too large.") } else { None }
        }
        status if status.is_success() => gateway("The backend answered with something that is not MCP."),
        _ if media_type == "application/json" => None,
        StatusCode::METHOD_NOT_ALLOWED => {
            Some(Failure::new(status, code::TRANSPORT, "The backend does not offer this method."))
        }
        status if status.is_client_error() => {
            Some(Failure::new(status, code::INVALID_REQUEST, "The backend refused the request."))
        }
        _ => gateway("The backend failed."),
    }
}
