//! rmcp's session workers, under our ids and our rules.
//!
//! rmcp names sessions itself, knows no owner and no limit, and lets an event store that is given to the manager replay
//! any session's events to anybody. So each session gets a `LocalSessionManager` of its own, made through
//! `restore_session`, which is the public way to choose the id; the manager as a whole has no event store. A shared one
//! may later be put into each session's own manager, scoped to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use futures::{StreamExt as _, future, stream};
use rmcp::model::{ClientJsonRpcMessage, InitializeRequestParams, ServerJsonRpcMessage};
use rmcp::transport::common::server_side_http::ServerSseMessage;
use rmcp::transport::streamable_http_server::session::{
    EventStream, RestoreOutcome, SessionId, SessionManager, SessionState, SessionStore, SessionStoreError,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::local::{Alive, Bound, Local, Phase, Resume};
use super::visit::{SessionError, Visit};
use super::{Entry, Gate, Refusal, new_id};

/// What rmcp's HTTP layer talks to.
pub(crate) struct Manager {
    gate: Arc<Gate<Local>>,
    draining: CancellationToken,
    /// Calls under way.
    calls: TaskTracker,
}

impl Manager {
    pub(crate) fn new(gate: Arc<Gate<Local>>, draining: CancellationToken, calls: TaskTracker) -> Self {
        Self { gate, draining, calls }
    }

    fn held(&self, id: &SessionId) -> Result<Arc<Entry<Local>>, SessionError> {
        self.gate.held(id).ok_or(SessionError::NotHeld)
    }

    /// The session, once its worker has shaken hands. rmcp restores a session in the middle of one request, and lets
    /// others of the same session pass as soon as it is held.
    async fn open(&self, id: &SessionId) -> Result<Arc<Entry<Local>>, SessionError> {
        let Some(entry) = self.gate.held(id) else {
            // The gate has found it a moment ago.
            return Err(Visit::current()?.refuse(Refusal::Unavailable));
        };
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

    /// The drain waits until a call's stream is through.
    fn under_way(&self, stream: EventStream) -> EventStream {
        let token = self.calls.token();
        Box::pin(stream.inspect(move |_| {
            let _held_with_the_stream = &token;
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
                if of_a_call { self.under_way(stream) } else { self.until_drained(stream) }
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
