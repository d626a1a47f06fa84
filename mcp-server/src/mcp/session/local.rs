//! What a session of the built-in server is in this process: rmcp's worker, the ids of its events, how far it is.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ProtocolVersion, ServerJsonRpcMessage, ServerResult};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::common::server_side_http::ServerSseMessage;
use rmcp::transport::streamable_http_server::session::SessionManager as _;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, LocalSessionWorker, SessionConfig};
use rmcp::transport::{Transport, WorkerTransport};
use tokio::sync::watch;

use super::Content;
use crate::state::random_bytes;

/// How long a client waits before it asks again for a stream that has ended.
const RETRY: Duration = Duration::from_secs(3);
/// How long a worker may take to hear that its session is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// What rmcp's HTTP layer names the event before the first one. It says nothing about what the client has seen.
const BEFORE_ALL: &str = "0";

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The worker is shaking hands. A worker that gets anything else meanwhile gives up.
    Opening,
    Open,
    Over,
}

/// What a session of the built-in server holds.
pub(crate) struct Local {
    pub(super) sessions: Arc<LocalSessionManager>,
    /// Begins the ids of its events: those of another session, or of another replica's worker for the same session, are
    /// told apart.
    pub(super) tag: String,
    /// The worker runs.
    pub(super) alive: Arc<AtomicBool>,
    pub(super) phase: watch::Sender<Phase>,
    /// The client knows events without data, which begin a stream since 2025-11-25. Older clients choke on them.
    primes: AtomicBool,
}

impl Local {
    pub(super) fn new() -> Self {
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
    pub(super) fn initialized(&self, answer: &ServerJsonRpcMessage) {
        if let ServerJsonRpcMessage::Response(response) = answer
            && let ServerResult::InitializeResult(result) = &response.result
        {
            let primes = result.protocol_version.as_str() >= ProtocolVersion::V_2025_11_25.as_str();
            self.primes.store(primes, Ordering::Relaxed);
        }
    }

    /// The worker has shaken hands.
    pub(super) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    /// An event as the client may see it.
    pub(super) fn outgoing(&self, mut event: ServerSseMessage) -> Option<ServerSseMessage> {
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
pub(super) enum Resume {
    /// With what comes from now on.
    Anew,
    /// After an event of this session's worker: what rmcp is to be asked for.
    From(String),
    /// At an event that nobody here can know.
    Nowhere,
}

impl Resume {
    /// The standalone stream's events are `<tag>.<index>`, those of a request's stream `<tag>.<index>/<request>`.
    pub(super) fn at(last_event_id: &str, tag: &str) -> Self {
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

/// A worker's transport that tells when it is gone.
pub(crate) struct Bound {
    pub(super) inner: WorkerTransport<LocalSessionWorker>,
    pub(super) _alive: Alive,
}

pub(super) struct Alive(pub(super) Arc<AtomicBool>);

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
