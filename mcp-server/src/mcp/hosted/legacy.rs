//! Requests of the 2025 revisions: the handshake, messages within a session, its own stream, its end.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use rmcp::ServerHandler;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, GetExtensions as _, InitializeRequestParams, InitializedNotification,
    ProtocolVersion, RequestId, ServerResult,
};
use rmcp::service::Service as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::{self, Source};
use super::guarded::Guarded;
use super::line::{Line, Nowhere, Silent};
use super::request::{self, Typed};
use super::session::{Session, asked_by};
use super::stateless::context;
use super::stream::{Begun, Reader, Replaced, Stream};
use super::{Hosted, encode, unfit};
use crate::mcp::body::{Farewell, Lasting};
use crate::mcp::calls::Call;
use crate::mcp::envelope::{Envelope, Kind};
use crate::mcp::error::{Failure, code};
use crate::mcp::revision;
use crate::mcp::session::{self, Entry, Found, Owner, Record, Refusal, Streaming};
use crate::peers::{Forwarded, Holder};

/// A session keeps its `initialize` for as long as it lives, here and in redis.
const MAX_INITIALIZE_BYTES: usize = 32 * 1024;
/// A call that is over by then is answered in one piece; nobody needs to come again for it.
const QUICK: Duration = Duration::from_millis(50);
/// How long a client waits before it comes again for a stream that broke off.
pub(super) const RETRY: Duration = Duration::from_secs(3);
/// Pauses before it is asked which replica runs a call: of one that has only just begun, redis does not know yet.
const CALL_IS_KNOWN_AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

/// Where the caller's session is.
enum Entered<S: ServerHandler> {
    Here(Held<S>),
    /// Its handler speaks by itself, in another process.
    Elsewhere(Holder),
}

pub(super) type Held<S> = Arc<Entry<Arc<Session<S>>>>;

impl<S: ServerHandler> Hosted<S> {
    pub(super) async fn legacy(
        &self,
        parts: Parts,
        envelope: Option<&Arc<Envelope>>,
        owner: Owner,
    ) -> Result<Response, Refusal> {
        if let Some(envelope) = envelope.filter(|envelope| envelope.method() == "initialize") {
            return self.initialize(parts, envelope, owner).await;
        }
        let name = parts.headers.get(session::HEADER).map(|value| value.to_str().unwrap_or_default().to_owned());
        let entry = match self.enter(name.as_deref(), &owner).await? {
            Entered::Here(entry) => entry,
            Entered::Elsewhere(holder) => return self.forward(&parts, envelope, &holder).await,
        };
        match (&parts.method, envelope) {
            (&Method::DELETE, _) => {
                self.gate.end(&entry.id).await?;
                Ok(body::empty(StatusCode::NO_CONTENT))
            }
            (&Method::GET, _) if self.shared.draining.is_cancelled() => Err(Refusal::Draining),
            (&Method::GET, _) => self.listen(&entry, &parts).await,
            (_, Some(envelope)) => Ok(match envelope.kind {
                Kind::Request => call(self, &entry, parts, envelope).await,
                Kind::Notification => {
                    self.notify(&entry, parts, envelope);
                    body::empty(StatusCode::ACCEPTED)
                }
                Kind::Response => match self.asked_elsewhere(envelope).await? {
                    Some(holder) => self.forward(&parts, Some(envelope), &holder).await?,
                    None => answered(&entry, envelope),
                },
            }),
            (_, None) => Ok(super::super::method_not_allowed("GET, POST, DELETE")),
        }
    }

    async fn initialize(&self, parts: Parts, envelope: &Envelope, owner: Owner) -> Result<Response, Refusal> {
        let id = envelope.id.as_deref();
        let (Some(raw), Kind::Request) = (id, envelope.kind) else {
            return Ok(not_a_request().response());
        };
        if envelope.bytes.len() > MAX_INITIALIZE_BYTES {
            return Ok(initialize_too_large().of(id).response());
        }
        if self.shared.draining.is_cancelled() {
            return Err(Refusal::Draining);
        }
        let begun = self.gate.begin(&parts.extensions).await?;
        let Ok(Typed { request: ClientRequest::InitializeRequest(mut initialize), meta }) = request::request(envelope)
        else {
            return Ok(unfit(StatusCode::BAD_REQUEST).of(id).response());
        };
        initialize.params.protocol_version = self.negotiate(&initialize.params.protocol_version);
        let version = initialize.params.protocol_version.clone();

        let session = self.session(Arc::clone(&begun.id), initialize.params.clone());
        session.greet();
        // rmcp's `initialize` writes into the peer: it must be nobody else's, also where nothing is said.
        let own = self.mute.as_ref().map(|_| Line::open(Silent, None, Nowhere));
        let peer = own.as_ref().map_or_else(|| session.line().peer().clone(), |line| line.peer().clone());
        let context = context(request::id(raw), peer, meta, parts);
        let mut result = session.service().handle_request(ClientRequest::InitializeRequest(initialize), context).await;
        if let Ok(ServerResult::InitializeResult(initialized)) = &mut result {
            initialized.protocol_version = version;
        }
        let message = encode::answer(id, &result);
        if result.is_err() {
            return Ok(body::json(StatusCode::OK, message));
        }
        let entry = self.gate.hold(begun, owner, Arc::clone(&session))?;
        if let Some(record) = session.record()
            && let Err(refusal) = self.gate.publish(&entry, record).await
        {
            self.gate.give_up(&entry.id).await;
            return Err(refusal);
        }
        let mut response = body::json(StatusCode::OK, message);
        if let Ok(name) = HeaderValue::from_str(&entry.id) {
            response.headers_mut().insert(session::HEADER, name);
        }
        Ok(response)
    }

    /// What the client offers, where it is spoken here, else the newest that is.
    fn negotiate(&self, offered: &ProtocolVersion) -> ProtocolVersion {
        let spoken = |version: &&ProtocolVersion| {
            version.as_str() < revision::STATELESS && revision::SUPPORTED.contains(&version.as_str())
        };
        let mut versions: Vec<_> = self.versions.iter().filter(spoken).collect();
        versions.sort_by(|a, b| b.as_str().cmp(a.as_str()));
        let newest = versions.first().map_or(ProtocolVersion::V_2025_11_25, |version| (*version).clone());
        if versions.contains(&offered) { offered.clone() } else { newest }
    }

    fn session(&self, name: Arc<str>, client: InitializeRequestParams) -> Arc<Session<S>> {
        let service = self.factory.as_ref().map_or_else(|| self.service.clone(), |make| Guarded::new(make()));
        Session::new(name, service, self.mute.clone(), self.speaks, Arc::clone(&self.shared), client)
    }

    /// The caller's session, taken over from redis where it is not held here.
    async fn enter(&self, name: Option<&str>, owner: &Owner) -> Result<Entered<S>, Refusal> {
        match self.gate.find(name, owner).await? {
            Found::Here(entry) => return Ok(Entered::Here(entry)),
            Found::Elsewhere(holder) => return Ok(Entered::Elsewhere(holder)),
            Found::Known(_) => {}
        }
        let name = name.unwrap_or_default();
        let _turn = self.gate.turn(name).await;
        match self.gate.find(Some(name), owner).await? {
            Found::Here(entry) => Ok(Entered::Here(entry)),
            Found::Elsewhere(holder) => Ok(Entered::Elsewhere(holder)),
            Found::Known(record) => self.take_over(name.into(), *owner, record).map(Entered::Here),
        }
    }

    async fn forward(
        &self,
        parts: &Parts,
        envelope: Option<&Arc<Envelope>>,
        holder: &Holder,
    ) -> Result<Response, Refusal> {
        let peers = self.shared.state.peers().ok_or(Refusal::NotFound)?;
        let body = envelope.map(|envelope| envelope.bytes.clone()).unwrap_or_default();
        peers.forward(parts, body, holder).await
    }

    /// The replica whose handler has asked what the message answers, where that is another one.
    async fn asked_elsewhere(&self, envelope: &Envelope) -> Result<Option<Holder>, Refusal> {
        let Some(peers) = self.shared.state.peers() else { return Ok(None) };
        let name = envelope.id.as_deref().and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        match name.as_deref().and_then(asked_by) {
            Some((replica, _, _)) if replica != self.shared.replica.id() => {
                peers.find(replica).await.map_err(|_| Refusal::Unavailable)
            }
            _ => Ok(None),
        }
    }

    fn notify(&self, entry: &Held<S>, parts: Parts, envelope: &Arc<Envelope>) {
        let session = &entry.content;
        if envelope.method() != "notifications/cancelled" {
            let mut notification = request::notification(envelope);
            notification.extensions_mut().insert(parts);
            session.notify(notification);
            return;
        }
        let Some((id, reason)) = cancelled(&envelope.bytes) else { return };
        if !session.cancel(&id, reason) && !session.speaks() && parts.extensions.get::<Forwarded>().is_none() {
            self.cancel_elsewhere(Arc::clone(&entry.id), id, parts, envelope.bytes.clone());
        }
    }

    /// Any replica may run a call of a session whose handler only answers. The client waits for nothing.
    fn cancel_elsewhere(&self, session: Arc<str>, call: Box<RawValue>, parts: Parts, body: Bytes) {
        let (Some(log), Some(peers)) = (&self.shared.events, self.shared.state.peers()) else { return };
        let (log, peers) = (Arc::clone(log), Arc::clone(peers));
        tokio::spawn(async move {
            for pause in CALL_IS_KNOWN_AFTER {
                tokio::time::sleep(pause).await;
                let Ok(replica) = log.runs(&session, call.get()).await else { return };
                let Some(replica) = replica.filter(|replica| replica != peers.id()) else { continue };
                if let Ok(Some(holder)) = peers.find(&replica).await {
                    let _ = peers.forward(&parts, body, &holder).await;
                }
                return;
            }
        });
    }

    fn take_over(&self, name: Arc<str>, owner: Owner, record: Record) -> Result<Held<S>, Refusal> {
        let client: InitializeRequestParams = serde_json::from_str(&record.content).map_err(|_| Refusal::NotFound)?;
        let session = self.session(Arc::clone(&name), client.clone());
        if session.speaks() && session.greet() {
            // What such a handler has learned from its client lives in its process: here it learns it again.
            let line = session.line();
            let initialize = ClientRequest::InitializeRequest(rmcp::model::Request::new(client));
            line.push(ClientJsonRpcMessage::request(initialize, RequestId::Number(-1)));
            line.push(ClientJsonRpcMessage::notification(InitializedNotification::default().into()));
        }
        self.gate.take_over(name, owner, record, session)
    }

    /// The stream of a session, or one that broke off.
    async fn listen(&self, entry: &Held<S>, parts: &Parts) -> Result<Response, Refusal> {
        if let Some(last) = parts.headers.get("last-event-id") {
            return self.resume(entry, last.to_str().unwrap_or_default()).await;
        }
        Ok(self.beside(entry, Vec::new()).await)
    }

    /// What belongs to no call, after those events. It ends when the process does, and the client asks another replica.
    pub(super) async fn beside(&self, entry: &Held<S>, mut first: Vec<Bytes>) -> Response {
        let stream = entry.content.beside();
        if entry.content.primes() {
            first.push(stream.mark(RETRY));
        }
        stream.open().await;
        let Some(reader) = stream.read_on(Replaced::Stays) else { return body::empty(StatusCode::OK) };
        let events = body::of(Events { first: first.into(), reader, _held: entry.streaming() });
        body::events(self.until_drained(events))
    }

    /// Ends when the process does, with a word on when to come again.
    pub(super) fn until_drained(&self, events: Body) -> Body {
        let (draining, goodbye) = (self.shared.draining.clone(), Bytes::from_static(b"retry: 1000\n\n"));
        Body::new(Lasting::new(events, async move { draining.cancelled().await }, Farewell::Event(goodbye), None))
    }
}

/// Events of a stream of a session.
pub(super) struct Events<S: ServerHandler> {
    pub(super) first: std::collections::VecDeque<Bytes>,
    pub(super) reader: Reader,
    pub(super) _held: Streaming<Arc<Session<S>>>,
}

impl<S: ServerHandler> Source for Events<S> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.first.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None => self.reader.poll_next(context),
        }
    }
}

/// A request. The handler goes on without its client: a lost connection is no cancellation.
async fn call<S: ServerHandler>(hosted: &Hosted<S>, entry: &Held<S>, parts: Parts, envelope: &Envelope) -> Response {
    let Some(id) = envelope.id.as_deref() else { return not_a_request().response() };
    let Ok(typed) = request::request(envelope) else {
        return unfit(StatusCode::OK).of(Some(id)).response();
    };
    let call = envelope.tool().map(|tool| Call::begin(&hosted.shared.metrics, tool, &parts.extensions));
    let session = &entry.content;
    let Ok(stream) = session.begin(typed, parts, id, call) else {
        return Failure::busy("The session has too many calls under way.", RETRY).of(Some(id)).response();
    };
    let unseen = Unseen(Some(Arc::clone(&stream)));
    let begun = std::future::poll_fn(|context| stream.poll_begun(context));
    if let Ok(Begun::Whole(events)) = tokio::time::timeout(QUICK, begun).await {
        return body::all_events(events);
    }
    unseen.seen();
    session.keep(&stream);
    if session.primes() {
        stream.prime(RETRY);
    }
    stream.open().await;
    match stream.read_on(Replaced::Ends) {
        Some(reader) => {
            let first = std::collections::VecDeque::new();
            body::events(body::of(Events { first, reader, _held: entry.streaming() }))
        }
        None => body::empty(StatusCode::OK),
    }
}

/// A stream of which its client has seen nothing. A client that goes away now can never ask for it again, so what the
/// handler says from then on is kept for nobody.
struct Unseen(Option<Arc<Stream>>);

impl Unseen {
    fn seen(mut self) {
        self.0 = None;
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.end();
        }
    }
}

fn answered<S: ServerHandler>(entry: &Held<S>, envelope: &Envelope) -> Response {
    match serde_json::from_slice::<ClientJsonRpcMessage>(&envelope.bytes) {
        Ok(message) => {
            entry.content.answered(message);
            body::empty(StatusCode::ACCEPTED)
        }
        Err(_) => unfit(StatusCode::BAD_REQUEST).response(),
    }
}

/// The request that a client cancels, and why.
fn cancelled(bytes: &[u8]) -> Option<(Box<RawValue>, Option<String>)> {
    #[derive(Deserialize)]
    struct Message {
        params: Params,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        request_id: Box<RawValue>,
        #[serde(default)]
        reason: Option<String>,
    }
    let Message { params } = serde_json::from_slice(bytes).ok()?;
    Some((params.request_id, params.reason))
}

fn not_a_request() -> Failure<'static> {
    Failure::new(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "The message must be a request.")
}

fn initialize_too_large() -> Failure<'static> {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, code::INVALID_REQUEST, "The initialize request is too large.")
}
