//! One session of the 2025 revisions: its calls, their streams, and the line over which rmcp serves them.
//!
//! The line is opened when something is to be served. One whose handler only ever answers is closed again when nothing is
//! under way, so that a session that only waits costs its entry and its client's stream. A handler that may speak by itself
//! (its capabilities say so) keeps its line: it may have kept the peer. A quiet one has none but for calls whose progress
//! is asked for; its other calls are made here.

mod outgoing;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::request::Parts;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification, ClientRequest,
    GetExtensions as _, InitializeRequestParams, ProgressToken, ProtocolVersion, RequestId, RequestMetaObject,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, Service as _};
use rmcp::{RoleServer, ServerHandler};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::outgoing::ToSession;
pub(super) use self::outgoing::asked_by;
use super::guarded::Guarded;
use super::line::Line;
use super::request::{self, Typed};
use super::stateless::context;
use super::stream::{Kind, Stream};
use super::{Mute, Shared};
use crate::mcp::calls::Call;
use crate::mcp::session::Content;

/// How long a line without a call stays: clients rarely make one call only.
const LINE_RESTS: Duration = Duration::from_secs(3);
/// How long the events of a stream that has ended are kept here.
const STREAM_KEPT: Duration = Duration::from_secs(60);
/// Streams that have ended and are still kept, of one session.
const STREAMS_KEPT: usize = 16;
/// Calls at once in one session.
const CALLS_AT_MOST: usize = 256;

/// See the module.
pub(crate) struct Session<S: ServerHandler> {
    id: Arc<str>,
    service: Guarded<S>,
    mute: Option<Arc<Mute<S>>>,
    shared: Arc<Shared>,
    client: InitializeRequestParams,
    speaks: bool,
    /// The handler has been told of the client by this process.
    greeted: AtomicBool,
    /// What belongs to no call.
    beside: Arc<Stream>,
    state: Mutex<State<S>>,
}

struct State<S: ServerHandler> {
    line: Option<Arc<Line<Guarded<S>>>>,
    /// Counts the lines: answers to requests of an earlier one are nobody's.
    lines: u32,
    last_call: Instant,
    next: i64,
    calls: HashMap<i64, Ongoing>,
    /// Streams that a client may come again for, oldest first.
    kept: VecDeque<Arc<Stream>>,
    /// Where requests of the handler went that have no answer yet.
    asked: HashMap<i64, Arc<Stream>>,
}

/// A request that the handler has not answered yet.
struct Ongoing {
    stream: Arc<Stream>,
    /// As the client wrote it.
    id: Box<RawValue>,
    progress: Option<ProgressToken>,
    call: Option<Call>,
    /// Of a call without a line.
    cancel: Option<CancellationToken>,
    /// Keeps the drain waiting, also where the client is gone.
    _under_way: TaskTrackerToken,
}

/// The session has as many calls as it may.
#[derive(Debug)]
pub(super) struct TooMany;

impl<S: ServerHandler> Content for Arc<Session<S>> {
    fn ended(&self, _id: &Arc<str>) {
        let (line, streams) = {
            let mut state = self.lock();
            let calls = std::mem::take(&mut state.calls);
            state.asked.clear();
            let kept = std::mem::take(&mut state.kept);
            calls.values().filter_map(|call| call.cancel.as_ref()).for_each(CancellationToken::cancel);
            let streams: Vec<_> = calls.into_values().map(|call| call.stream).chain(kept).collect();
            (state.line.take(), streams)
        };
        drop(line);
        self.beside.end();
        streams.iter().for_each(|stream| stream.end());
    }
}

impl<S: ServerHandler> Session<S> {
    pub(super) fn new(
        id: Arc<str>,
        service: Guarded<S>,
        mute: Option<Arc<Mute<S>>>,
        speaks: bool,
        shared: Arc<Shared>,
        client: InitializeRequestParams,
    ) -> Arc<Self> {
        let name = format!("{}{BESIDE}", shared.stream_name());
        let beside = logged(Stream::new(name, Kind::Kept), speaks, &shared, &id, None);
        Arc::new(Self {
            id,
            service,
            mute,
            client,
            speaks,
            greeted: AtomicBool::new(false),
            beside: Arc::new(beside),
            shared,
            state: Mutex::new(State {
                line: None,
                lines: 0,
                last_call: Instant::now(),
                next: 0,
                calls: HashMap::new(),
                kept: VecDeque::new(),
                asked: HashMap::new(),
            }),
        })
    }

    pub(super) fn service(&self) -> &Guarded<S> {
        &self.service
    }

    pub(super) fn beside(&self) -> &Arc<Stream> {
        &self.beside
    }

    /// Its state is more than what redis has: only this process can serve it.
    pub(super) fn speaks(&self) -> bool {
        self.speaks
    }

    /// The client knows events without data. Older ones choke on them.
    pub(super) fn primes(&self) -> bool {
        self.client.protocol_version.as_str() >= ProtocolVersion::V_2025_11_25.as_str()
    }

    /// Its content for redis.
    pub(super) fn record(&self) -> Option<String> {
        serde_json::to_string(&self.client).ok()
    }

    /// The handler has been told of its client: by the handshake itself, or by repeating it.
    pub(super) fn greet(&self) -> bool {
        !self.greeted.swap(true, Ordering::Relaxed)
    }

    /// The line, which is opened where there is none.
    pub(super) fn line(self: &Arc<Self>) -> Arc<Line<Guarded<S>>> {
        let mut state = self.lock();
        self.line_of(&mut state)
    }

    fn line_of(self: &Arc<Self>, state: &mut State<S>) -> Arc<Line<Guarded<S>>> {
        state.last_call = Instant::now();
        if let Some(line) = &state.line {
            return Arc::clone(line);
        }
        state.lines += 1;
        let outlet = ToSession { session: Arc::downgrade(self), line: state.lines };
        let line = Arc::new(Line::open(self.service.clone(), Some(self.client.clone()), outlet));
        state.line = Some(Arc::clone(&line));
        line
    }

    /// Begins a request.
    pub(super) fn begin(
        self: &Arc<Self>,
        typed: Typed,
        parts: Parts,
        id: &RawValue,
        call: Option<Call>,
    ) -> Result<Arc<Stream>, TooMany> {
        let stream = Stream::new(self.shared.stream_name(), Kind::Kept);
        let stream = Arc::new(logged(stream, true, &self.shared, &self.id, Some(id)));
        let mute = self.mute.as_ref().and_then(|mute| mute.peer(&typed.meta));
        let mute = mute.map(|peer| (peer, CancellationToken::new()));
        let mut state = self.lock();
        if state.calls.len() >= CALLS_AT_MOST {
            return Err(TooMany);
        }
        let number = state.next;
        state.next += 1;
        let ongoing = Ongoing {
            stream: Arc::clone(&stream),
            id: id.to_owned(),
            progress: typed.meta.get_progress_token(),
            call,
            cancel: mute.as_ref().map(|(_, cancel)| cancel.clone()),
            _under_way: self.shared.calls.token(),
        };
        state.calls.insert(number, ongoing);
        let number = RequestId::Number(number);
        match mute {
            Some((peer, cancel)) => {
                drop(state);
                let Typed { request, meta } = typed;
                let mut context = context(number.clone(), peer, self.about_client(meta), parts);
                context.ct = cancel;
                self.run(number, request, context);
            }
            None => {
                let line = self.line_of(&mut state);
                drop(state);
                let mut message = request::message(typed, number);
                if let ClientJsonRpcMessage::Request(request) = &mut message {
                    request.request.extensions_mut().insert(parts);
                }
                line.push(message);
            }
        }
        Ok(stream)
    }

    /// What the session's client has said of itself at its beginning, as it would be said with each request of 2026-07-28:
    /// the context gives it to the handler from there.
    fn about_client(&self, mut meta: RequestMetaObject) -> RequestMetaObject {
        meta.set_protocol_version(self.client.protocol_version.clone());
        meta.set_client_info(self.client.client_info.clone());
        meta.set_client_capabilities(self.client.capabilities.clone());
        meta
    }

    /// Calls the handler, which may outlast its client. One that has its answer at once costs no task.
    fn run(self: &Arc<Self>, number: RequestId, request: ClientRequest, context: RequestContext<RoleServer>) {
        let session = Arc::clone(self);
        let mut running = Box::pin(async move {
            let result = session.service.handle_request(request, context).await;
            session.finish(&number, &result);
        });
        if running.as_mut().now_or_never().is_none() {
            tokio::spawn(running);
        }
    }

    /// The client may come again for that stream.
    pub(super) fn keep(&self, stream: &Arc<Stream>) {
        let mut state = self.lock();
        state.kept.push_back(Arc::clone(stream));
        while state.kept.len() > STREAMS_KEPT && state.kept.front().is_some_and(|oldest| oldest.has_ended()) {
            state.kept.pop_front();
        }
    }

    /// How many streams have events that are kept, and how many bytes they are.
    pub(super) fn kept_events(&self) -> (usize, usize) {
        let state = self.lock();
        let sizes = state.kept.iter().chain([&self.beside]).map(|stream| stream.bytes());
        sizes.filter(|bytes| *bytes > 0).fold((0, 0), |(streams, all), bytes| (streams + 1, all + bytes))
    }

    /// A stream that was kept.
    pub(super) fn kept(&self, name: &str) -> Option<Arc<Stream>> {
        let state = self.lock();
        state.kept.iter().chain([&self.beside]).find(|stream| stream.name() == name).cloned()
    }

    /// The client has cancelled a request: the handler hears of it, and there will be no answer. Returns whether it runs here.
    pub(super) fn cancel(self: &Arc<Self>, id: &RawValue, reason: Option<String>) -> bool {
        let (line, number, ongoing) = {
            let mut state = self.lock();
            let number = state.calls.iter().find(|(_, call)| call.id.get() == id.get()).map(|(number, _)| *number);
            let Some(number) = number else { return false };
            let Some(ongoing) = state.calls.remove(&number) else { return false };
            let line = if ongoing.cancel.is_none() { Some(self.line_of(&mut state)) } else { None };
            (line, number, ongoing)
        };
        ongoing.stream.end();
        if let Some(cancel) = &ongoing.cancel {
            cancel.cancel();
        }
        let params = CancelledNotificationParam::new(Some(RequestId::Number(number)), reason);
        let cancelled = ClientNotification::CancelledNotification(CancelledNotification::new(params));
        match line {
            Some(line) => line.push(ClientJsonRpcMessage::notification(cancelled)),
            None => self.notify(cancelled),
        }
        true
    }

    /// A notification of the client.
    pub(super) fn notify(self: &Arc<Self>, notification: ClientNotification) {
        let message = ClientJsonRpcMessage::notification(notification);
        match &self.mute {
            Some(mute) => mute.0.push(message),
            None => self.line().push(message),
        }
    }

    /// Lets go of what nobody needs any more.
    pub(super) fn rest(&self) {
        let line = {
            let mut state = self.lock();
            state.kept.retain(|stream| stream.ended_for().is_none_or(|since| since < STREAM_KEPT));
            let idle = state.calls.is_empty() && state.last_call.elapsed() >= LINE_RESTS;
            if idle {
                state.calls.shrink_to_fit();
                state.asked.shrink_to_fit();
            }
            if idle && !self.speaks { state.line.take() } else { None }
        };
        drop(line);
    }

    /// No code under the lock can panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the names of streams that belong to no call.
pub(super) const BESIDE: char = 'b';

/// A handler with these capabilities sends what no client has asked for.
pub(super) fn speaks(info: &ServerConfig) -> bool {
    let ServerCapabilities { logging, prompts, resources, tools, .. } = &info.capabilities;
    logging.is_some()
        || prompts.as_ref().is_some_and(|prompts| prompts.list_changed == Some(true))
        || tools.as_ref().is_some_and(|tools| tools.list_changed == Some(true))
        || resources
            .as_ref()
            .is_some_and(|resources| resources.list_changed == Some(true) || resources.subscribe == Some(true))
}

fn logged(stream: Stream, wanted: bool, shared: &Shared, session: &str, request: Option<&RawValue>) -> Stream {
    match shared.events.as_ref().filter(|_| wanted) {
        Some(events) => {
            let key = events.key(session, stream.name());
            stream.with_log(Arc::clone(events), key, request.map(|id| id.get().to_owned()))
        }
        None => stream,
    }
}
