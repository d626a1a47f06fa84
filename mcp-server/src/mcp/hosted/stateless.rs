//! A request of 2026-07-28: it stands alone, its handler is called in the request's own task, and ends with it. A client
//! that goes away has cancelled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::StatusCode;
use http::request::Parts;
use rmcp::model::{
    ClientRequest, ErrorCode, ErrorData, InitializeRequestParams, ProtocolVersion, RequestId, RequestMetaObject,
    ServerJsonRpcMessage, ServerResult,
};
use rmcp::service::{Peer, RequestContext, Service as _};
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::body::{self, Source};
use super::guarded::Guarded;
use super::line::{Line, Outlet, Silent};
use super::request::{self, Typed};
use super::seal::Purpose;
use super::stream::{Begun, Kind, Reader, Replaced, Stream};
use super::{Hosted, Shared, encode, outcome, unfit};
use crate::auth::Caller;
use crate::mcp::calls::Call;
use crate::mcp::envelope::Envelope;
use crate::mcp::error::{Failure, code};
use crate::mcp::session::{Owner, Refusal};
use crate::state::wall_clock;

/// How long a handler that listens may take to end properly when the process does.
const GOODBYE: Duration = Duration::from_secs(2);

type Outcome = Result<ServerResult, ErrorData>;

/// Messages of a line to the stream of its request.
struct ToStream(Arc<Stream>);

impl Outlet for ToStream {
    fn send(&self, message: ServerJsonRpcMessage) -> BoxFuture<'static, ()> {
        match encode::message(&message) {
            Some(message) => self.0.push(&message).boxed(),
            None => std::future::ready(()).boxed(),
        }
    }
}

impl<S: ServerHandler> Hosted<S> {
    /// Answers a request.
    pub(super) async fn stateless(&self, parts: Parts, envelope: &Arc<Envelope>) -> Response {
        let id = envelope.id.as_deref();
        if envelope.method() == "subscriptions/listen" && self.shared.draining.is_cancelled() {
            return Refusal::Draining.response(id);
        }
        let Ok(Typed { mut request, meta }) = request::request(envelope) else {
            return unfit(StatusCode::OK).of(id).response();
        };
        if let Err(failure) = self.unseal(&mut request, &parts) {
            return failure.of(id).response();
        }
        if !is_complete(&meta) {
            return incomplete().of(id).response();
        }
        let listens = matches!(request, ClientRequest::SubscriptionsListenRequest(_));
        let call = envelope.tool().map(|tool| Call::begin(&self.shared.metrics, tool, &parts.extensions));

        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or(Caller::Anonymous);
        let origin = Origin { shared: Arc::clone(&self.shared), caller, envelope: Arc::clone(envelope) };
        let number = id.map_or(RequestId::Number(0), request::id);
        if !listens && let Some(peer) = self.mute.as_ref().and_then(|mute| mute.peer(&meta)) {
            let context = context(number, peer, meta, parts);
            let _cancel = context.ct.clone().drop_guard();
            let result = run(self.service.clone(), request, context, origin, call).await;
            return body::json(status(&result), encode::answer(id, &result));
        }

        // Boxed: what a stream needs is not room that every request should take.
        Box::pin(self.speaking(number, Typed { request, meta }, parts, origin, call)).await
    }

    /// Answers a request whose handler may say more than its answer.
    async fn speaking(
        &self,
        number: RequestId,
        Typed { request, meta }: Typed,
        parts: Parts,
        origin: Origin,
        call: Option<Call>,
    ) -> Response {
        let listens = matches!(request, ClientRequest::SubscriptionsListenRequest(_));
        let id = origin.envelope.id.clone();
        let stream = Arc::new(Stream::new(String::new(), Kind::Passing));
        let line = Line::open(Silent, Some(self.client.clone()), ToStream(Arc::clone(&stream)));
        let context = context(number, line.peer().clone(), meta, parts);
        let cancel = context.ct.clone();
        let handler = run(self.service.clone(), request, context, origin, call);
        let handler: BoxFuture<'static, Outcome> = if listens {
            let draining = self.shared.draining.clone();
            until_drained(handler.boxed(), draining, cancel.clone(), id.clone()).boxed()
        } else {
            handler.boxed()
        };
        let running = Running { handler: Some(handler), id, stream, _line: line, _cancel: cancel.drop_guard() };
        running.respond().await
    }

    /// Opens the state that the client brought back.
    fn unseal(&self, request: &mut ClientRequest, parts: &Parts) -> Result<(), Failure<'static>> {
        let sealed = match request {
            ClientRequest::CallToolRequest(call) => &mut call.params.request_state,
            ClientRequest::GetPromptRequest(get) => &mut get.params.request_state,
            ClientRequest::ReadResourceRequest(read) => &mut read.params.request_state,
            _ => return Ok(()),
        };
        let Some(sealed) = sealed.take() else { return Ok(()) };
        let opened = Purpose::of(request, &self.shared.owner(parts))
            .and_then(|purpose| self.shared.seal.open(&sealed, &purpose, wall_clock()).ok());
        let Some(opened) = opened else {
            let message = "The requestState is not one that was given for this call, or it is too old.";
            return Err(Failure::new(StatusCode::OK, code::INVALID_PARAMS, message));
        };
        match request {
            ClientRequest::CallToolRequest(call) => call.params.request_state = Some(opened),
            ClientRequest::GetPromptRequest(get) => get.params.request_state = Some(opened),
            ClientRequest::ReadResourceRequest(read) => read.params.request_state = Some(opened),
            _ => {}
        }
        Ok(())
    }
}

/// What a handler is told beside the request.
pub(super) fn context(
    id: RequestId,
    peer: Peer<RoleServer>,
    meta: RequestMetaObject,
    parts: Parts,
) -> RequestContext<RoleServer> {
    let mut context = RequestContext::new(id, peer);
    context.meta = meta;
    context.extensions.insert(parts);
    context
}

/// Where a request came from, for the few that need to know it at their end.
struct Origin {
    shared: Arc<Shared>,
    caller: Caller,
    envelope: Arc<Envelope>,
}

impl Origin {
    fn seal(&self, state: &str) -> Option<String> {
        let Typed { request, .. } = request::request(&self.envelope).ok()?;
        let owner = Owner::of(&self.caller, self.shared.state.session_key());
        self.shared.seal.seal(state, &Purpose::of(&request, &owner)?, wall_clock())
    }
}

/// Calls the handler.
async fn run<S: ServerHandler>(
    service: Guarded<S>,
    request: ClientRequest,
    context: RequestContext<RoleServer>,
    origin: Origin,
    mut call: Option<Call>,
) -> Outcome {
    let mut result = service.handle_request(request, context).await;
    if let Some(call) = &mut call {
        call.finish(outcome(&result));
    }
    if let Ok(ServerResult::InputRequiredResult(required)) = &mut result
        && let Some(state) = &mut required.request_state
    {
        match origin.seal(state) {
            Some(sealed) => *state = sealed,
            None => return Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, "Internal error.", None)),
        }
    }
    result
}

/// A client that listens gets the proper end when the process ends, also from a handler that does not know how.
async fn until_drained(
    mut handler: BoxFuture<'static, Outcome>,
    draining: CancellationToken,
    cancel: CancellationToken,
    id: Option<Box<RawValue>>,
) -> Outcome {
    tokio::select! {
        result = handler.as_mut() => return result,
        () = draining.cancelled() => cancel.cancel(),
    }
    match tokio::time::timeout(GOODBYE, AssertUnwindSafe(handler).catch_unwind()).await {
        Ok(Ok(Ok(result))) => Ok(result),
        _ => {
            let id = id.as_deref().map_or(RequestId::Number(0), request::id);
            Ok(ServerResult::SubscriptionsListenResult(rmcp::model::SubscriptionsListenResult::complete(id)))
        }
    }
}

/// A handler at work, and its response.
struct Running {
    /// `None` once it has ended.
    handler: Option<BoxFuture<'static, Outcome>>,
    id: Option<Box<RawValue>>,
    stream: Arc<Stream>,
    _line: Line<Silent>,
    _cancel: DropGuard,
}

impl Running {
    /// JSON where the result is all that there is, else events.
    async fn respond(mut self) -> Response {
        let first = std::future::poll_fn(|context| {
            if let Some(handler) = &mut self.handler
                && let Poll::Ready(result) = handler.as_mut().poll(context)
            {
                self.handler = None;
                return Poll::Ready(Some(result));
            }
            match self.stream.poll_begun(context) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        let Some(result) = first.await else { return self.events().await };
        let message = encode::answer(self.id.as_deref(), &result);
        if self.stream.is_empty() {
            return body::json(status(&result), message);
        }
        // It has spoken and ended before anybody looked.
        self.stream.finish(&message);
        match futures::poll!(std::future::poll_fn(|context| self.stream.poll_begun(context))) {
            Poll::Ready(Begun::Whole(whole)) => body::all_events(whole),
            _ => self.events().await,
        }
    }

    async fn events(self) -> Response {
        self.stream.open().await;
        let Some(reader) = self.stream.read_on(Replaced::Ends) else { return body::empty(StatusCode::OK) };
        body::events(body::of(RunningEvents { running: self, reader }))
    }
}

struct RunningEvents {
    running: Running,
    reader: Reader,
}

impl Source for RunningEvents {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let running = &mut self.running;
        if let Some(handler) = &mut running.handler
            && let Poll::Ready(result) = handler.as_mut().poll(context)
        {
            running.handler = None;
            running.stream.finish(&encode::answer(running.id.as_deref(), &result));
        }
        self.reader.poll_next(context)
    }
}

/// The status that goes with a result (2026-07-28, transports).
fn status(result: &Outcome) -> StatusCode {
    let Err(error) = result else { return StatusCode::OK };
    match error.code {
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
        | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
        | ErrorCode::HEADER_MISMATCH => StatusCode::BAD_REQUEST,
        ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// What every request of 2026-07-28 says of itself is there. rmcp looks too, and answers with another status.
fn is_complete(meta: &RequestMetaObject) -> bool {
    const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    // A client without any is common, and quickly told.
    let none = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    (meta.0.0.get(CAPABILITIES).is_some_and(none) || meta.client_capabilities().is_some())
        && meta.protocol_version().is_some()
}

fn incomplete() -> Failure<'static> {
    let message = "A member of _meta that every request has is missing or malformed.";
    Failure::new(StatusCode::BAD_REQUEST, code::INVALID_PARAMS, message)
}

/// What a peer is told of a client that has not introduced itself: the request's `_meta` says it all.
pub(super) fn client() -> InitializeRequestParams {
    let mut client = InitializeRequestParams::default();
    client.protocol_version = ProtocolVersion::V_2026_07_28;
    client
}
