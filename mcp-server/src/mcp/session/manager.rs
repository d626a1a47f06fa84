//! rmcp's session workers, under our ids and our rules.
//!
//! rmcp names sessions itself, knows no owner and no limit, and lets an event store that is given to the manager replay
//! any session's events to anybody. So each session gets a `LocalSessionManager` of its own, made through
//! `restore_session`, which is the public way to choose the id; the manager as a whole has no event store. A shared one
//! may later be put into each session's own manager, scoped to it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _, future, stream};
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, InitializeRequestParams, ProtocolVersion, ServerJsonRpcMessage, ServerResult};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::common::server_side_http::ServerSseMessage;
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, LocalSessionWorker, SessionConfig,
};
use rmcp::transport::streamable_http_server::session::{
    EventStream, RestoreOutcome, SessionId, SessionManager, SessionState, SessionStore, SessionStoreError,
};
use rmcp::transport::{Transport, WorkerTransport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Content, Entry, Gate, Owner, Record, Refusal, new_id};
use crate::state::random_bytes;

/// How long a client waits before it asks again for a stream that has ended.
const RETRY: Duration = Duration::from_secs(3);
/// How long a worker may take to hear that its session is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// What rmcp's HTTP layer names the event before the first one. It says nothing about what the client has seen.
const BEFORE_ALL: &str = "0";

tokio::task_local! {
    /// What the HTTP layer of rmcp cannot tell its session manager about the request.
    static VISIT: Arc<Visit>;
}

/// One request on its way through rmcp, and what became of it.
pub(crate) struct Visit {
    owner: Owner,
    /// The session to take over from redis.
    record: Option<Record>,
    /// The session that it opened or took over.
    opened: OnceLock<SessionId>,
    refused: OnceLock<Refusal>,
}

impl Visit {
    pub(crate) fn new(owner: Owner, record: Option<Record>) -> Arc<Self> {
        Arc::new(Self { owner, record, opened: OnceLock::new(), refused: OnceLock::new() })
    }

    /// Runs rmcp's handling of the request.
    pub(crate) async fn scope<T>(self: &Arc<Self>, handling: impl Future<Output = T>) -> T {
        VISIT.scope(Arc::clone(self), handling).await
    }

    /// The session that the request opened or took over.
    pub(crate) fn opened(&self) -> Option<&SessionId> {
        self.opened.get()
    }

    /// Why the request was refused on the way.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        self.refused.get().copied()
    }

    fn refuse(&self, refusal: Refusal) -> SessionError {
        let _ = self.refused.set(refusal);
        SessionError::Refused(refusal)
    }

    fn current() -> Result<Arc<Self>, SessionError> {
        VISIT.try_with(Arc::clone).map_err(|_| SessionError::NoVisit)
    }
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The worker is shaking hands. A worker that gets anything else meanwhile gives up.
    Opening,
    Open,
    Over,
}

/// What a session of the built-in server holds.
pub(crate) struct Local {
    sessions: Arc<LocalSessionManager>,
    /// Begins the ids of its events: those of another session, or of another replica's worker for the same session, are
    /// told apart.
    tag: String,
    /// The worker runs.
    alive: Arc<AtomicBool>,
    phase: watch::Sender<Phase>,
    /// The client knows events without data, which begin a stream since 2025-11-25. Older clients choke on them.
    primes: AtomicBool,
}

impl Local {
    fn new() -> Self {
        let mut sessions = LocalSessionManager::default();
        // Our gate ends idle sessions: it knows of open streams, and of requests at other replicas.
        sessions.session_config.keep_alive = None;
        sessions.session_config.sse_retry = Some(RETRY);
        sessions.session_config.init_timeout = Some(SessionConfig::DEFAULT_INIT_TIMEOUT);
        Self {
            sessions: Arc::new(sessions),
            tag: random_bytes::<6>().iter().map(|byte| format!("{byte:02x}")).collect(),
            alive: Arc::new(AtomicBool::new(true)),
            phase: watch::Sender::new(Phase::Opening),
            primes: AtomicBool::new(false),
        }
    }

    /// Learns the negotiated revision from the answer to `initialize`.
    fn initialized(&self, answer: &ServerJsonRpcMessage) {
        if let ServerJsonRpcMessage::Response(response) = answer
            && let ServerResult::InitializeResult(result) = &response.result
        {
            let primes = result.protocol_version.as_str() >= ProtocolVersion::V_2025_11_25.as_str();
            self.primes.store(primes, Ordering::Relaxed);
        }
    }

    /// An event as the client may see it.
    fn outgoing(&self, mut event: ServerSseMessage) -> Option<ServerSseMessage> {
        if event.message.is_none() && !self.primes.load(Ordering::Relaxed) {
            return None;
        }
        event.event_id = event.event_id.map(|id| format!("{}.{id}", self.tag));
        Some(event)
    }
}

impl Content for Local {
    fn ended(&self, id: &Arc<str>) {
        self.phase.send_replace(Phase::Over);
        let (sessions, id) = (Arc::clone(&self.sessions), Arc::clone(id));
        tokio::spawn(async move {
            // A worker that waits for a slow client hears of it later, when its last handle is gone.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, sessions.close_session(&id)).await;
        });
    }
}

/// Where a client wants to go on.
#[derive(Debug, PartialEq, Eq)]
enum Resume {
    /// With what comes from now on.
    Anew,
    /// After an event of this session's worker: what rmcp is to be asked for.
    From(String),
    /// At an event that nobody here can know.
    Nowhere,
}

impl Resume {
    /// The standalone stream's events are `<tag>.<index>`, those of a request's stream `<tag>.<index>/<request>`.
    fn at(last_event_id: &str, tag: &str) -> Self {
        if last_event_id == BEFORE_ALL {
            return Self::Anew;
        }
        let Some((of, position)) = last_event_id.split_once('.') else { return Self::Nowhere };
        if of != tag {
            // Another worker's. Its standalone stream can be had anew; a request's stream is with that worker.
            return if position.contains('/') { Self::Nowhere } else { Self::Anew };
        }
        let (index, request) = position.split_once('/').map_or((position, None), |(index, of)| (index, Some(of)));
        // rmcp begins with the event that is named; the client has that one.
        let next = index.parse::<u32>().ok().and_then(|index| index.checked_add(1));
        match (next, request) {
            (Some(next), Some(request)) => Self::From(format!("{next}/{request}")),
            (Some(next), None) => Self::From(next.to_string()),
            (None, _) => Self::Nowhere,
        }
    }
}

/// What rmcp's HTTP layer talks to.
pub(crate) struct Manager {
    gate: Arc<Gate<Local>>,
    draining: CancellationToken,
}

/// Why rmcp cannot go on. Clients never see it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error("called outside of a request")]
    NoVisit,
    #[error("the event is not one of this session's")]
    ForeignEvent,
    #[error("the session is not held here")]
    NotHeld,
    #[error(transparent)]
    Local(#[from] LocalSessionManagerError),
}

impl Manager {
    pub(crate) fn new(gate: Arc<Gate<Local>>, draining: CancellationToken) -> Self {
        Self { gate, draining }
    }

    fn held(&self, id: &SessionId) -> Result<Arc<Entry<Local>>, SessionError> {
        self.gate.held(id).ok_or(SessionError::NotHeld)
    }

    /// The session, once its worker has shaken hands. rmcp restores a session in the middle of one request, and lets
    /// others of the same session pass as soon as it is held.
    async fn open(&self, id: &SessionId) -> Result<Arc<Entry<Local>>, SessionError> {
        let entry = self.held(id)?;
        let phase =
            entry.content.phase.subscribe().wait_for(|phase| *phase != Phase::Opening).await.map(|phase| *phase);
        match phase {
            Ok(Phase::Open) => Ok(entry),
            // Whoever was restoring it has failed; another try may do better.
            _ => Err(Visit::current()?.refuse(Refusal::Unavailable)),
        }
    }

    async fn hold(&self, id: SessionId, visit: &Visit) -> Result<Bound, SessionError> {
        let created = visit.record.as_ref().map(|record| record.created);
        let entry =
            self.gate.hold(id.clone(), visit.owner, created, Local::new()).map_err(|refusal| visit.refuse(refusal))?;
        if let Some(record) = &visit.record {
            let _ = entry.record.set(record.content.clone());
        }
        let _ = visit.opened.set(id.clone());
        match entry.content.sessions.restore_session(id).await? {
            RestoreOutcome::Restored(inner) => Ok(Bound { inner, _alive: Alive(Arc::clone(&entry.content.alive)) }),
            _ => Err(SessionError::NotHeld),
        }
    }

    /// A stream of a session as the client may see it.
    fn shape(entry: Arc<Entry<Local>>, stream: EventStream) -> EventStream {
        let streaming = entry.streaming();
        Box::pin(stream.filter_map(move |event| {
            let _held_with_the_stream = &streaming;
            future::ready(entry.content.outgoing(event))
        }))
    }

    /// A stream that belongs to no call ends when the process does, and the client asks another replica.
    fn until_drained(&self, stream: EventStream) -> EventStream {
        let draining = self.draining.clone();
        let goodbye = ServerSseMessage::retry(Duration::from_secs(1));
        Box::pin(
            stream.take_until(async move { draining.cancelled().await }).chain(stream::once(future::ready(goodbye))),
        )
    }
}

impl SessionManager for Manager {
    type Error = SessionError;
    type Transport = Bound;

    async fn create_session(&self) -> Result<(SessionId, Bound), SessionError> {
        let visit = Visit::current()?;
        let id = new_id();
        let transport = self.hold(id.clone(), &visit).await?;
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionError> {
        let entry = self.held(id)?;
        let answer = entry.content.sessions.initialize_session(id, message).await?;
        entry.content.initialized(&answer);
        if Visit::current()?.record.is_none() {
            entry.content.phase.send_replace(Phase::Open);
        }
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionError> {
        Ok(self.gate.held(id).is_some())
    }

    /// rmcp calls this when a worker has stopped. By then the id may have a new worker, which goes on.
    async fn close_session(&self, id: &SessionId) -> Result<(), SessionError> {
        self.gate.forget_if(id, |local| !local.alive.load(Ordering::Acquire));
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let entry = self.open(id).await?;
        let stream: EventStream = Box::pin(entry.content.sessions.create_stream(id, message).await?);
        Ok(Self::shape(entry, stream))
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), SessionError> {
        let visit = Visit::current()?;
        if visit.opened() == Some(id) && visit.record.is_some() {
            // The end of a restored session's handshake: what comes later stands behind it in the worker's queue.
            let entry = self.held(id)?;
            entry.content.sessions.accept_message(id, message).await?;
            entry.content.phase.send_if_modified(|phase| {
                let opening = *phase == Phase::Opening;
                *phase = if opening { Phase::Open } else { *phase };
                opening
            });
            return Ok(());
        }
        Ok(self.open(id).await?.content.sessions.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let entry = self.open(id).await?;
        let stream: EventStream = Box::pin(entry.content.sessions.create_standalone_stream(id).await?);
        Ok(Self::shape(entry, self.until_drained(stream)))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let entry = self.open(id).await?;
        let stream: EventStream = match Resume::at(&last_event_id, &entry.content.tag) {
            Resume::Anew => {
                let stream = entry.content.sessions.create_standalone_stream(id).await?;
                self.until_drained(Box::pin(stream))
            }
            Resume::From(position) => {
                let of_a_call = position.contains('/');
                let stream: EventStream = Box::pin(entry.content.sessions.resume(id, position).await?);
                if of_a_call { stream } else { self.until_drained(stream) }
            }
            Resume::Nowhere => return Err(SessionError::ForeignEvent),
        };
        Ok(Self::shape(entry, stream))
    }

    async fn restore_session(&self, id: SessionId) -> Result<RestoreOutcome<Bound>, SessionError> {
        let visit = Visit::current()?;
        Ok(RestoreOutcome::Restored(self.hold(id, &visit).await?))
    }
}

/// What rmcp takes for its store of sessions: the gate has read the record already, and writes the new one.
pub(crate) struct Restored(pub(crate) Arc<Gate<Local>>);

#[async_trait]
impl SessionStore for Restored {
    async fn load(&self, _id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let visit = Visit::current()?;
        let Some(record) = &visit.record else { return Ok(None) };
        let params: InitializeRequestParams = serde_json::from_str(&record.content)?;
        Ok(Some(SessionState::new(params)))
    }

    async fn store(&self, id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let visit = Visit::current()?;
        let Some(entry) = self.0.held(id) else { return Ok(()) };
        let content = serde_json::to_string(&state.initialize_params)?;
        self.0.publish(&entry, content).await.map_err(|refusal| visit.refuse(refusal))?;
        Ok(())
    }

    /// The gate ends sessions; rmcp is never asked to.
    async fn delete(&self, _id: &str) -> Result<(), SessionStoreError> {
        Ok(())
    }
}

/// A worker's transport that tells when it is gone.
pub(crate) struct Bound {
    inner: WorkerTransport<LocalSessionWorker>,
    _alive: Alive,
}

struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Transport<RoleServer> for Bound {
    type Error = <WorkerTransport<LocalSessionWorker> as Transport<RoleServer>>::Error;

    fn name() -> Cow<'static, str> {
        "session".into()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    fn receive(&mut self) -> impl Future<Output = Option<RxJsonRpcMessage<RoleServer>>> + Send {
        self.inner.receive()
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::Resume;

    #[test]
    fn a_stream_goes_on_after_the_event_that_the_client_has() {
        assert_eq!(Resume::at("abc.4", "abc"), Resume::From("5".into()));
        assert_eq!(Resume::at("abc.4/2", "abc"), Resume::From("5/2".into()));
    }

    #[test]
    fn no_event_of_another_worker_is_looked_up_here() {
        assert_eq!(Resume::at("other.4/2", "abc"), Resume::Nowhere);
        assert_eq!(Resume::at("4/2", "abc"), Resume::Nowhere);
        assert_eq!(Resume::at("abc.x", "abc"), Resume::Nowhere);
        assert_eq!(Resume::at("abc.4294967295", "abc"), Resume::Nowhere);
        assert_eq!(Resume::at("other.4", "abc"), Resume::Anew);
        assert_eq!(Resume::at("0", "abc"), Resume::Anew);
    }
}
