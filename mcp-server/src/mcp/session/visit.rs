//! One request on its way through rmcp. rmcp's HTTP layer tells its session manager nothing about the request; both run
//! in the request's own task, so it travels as a task-local.

use std::sync::{Arc, OnceLock};

use rmcp::transport::streamable_http_server::session::SessionId;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManagerError;

use super::{Owner, Record, Refusal};

tokio::task_local! {
    /// What the HTTP layer of rmcp cannot tell its session manager about the request.
    static VISIT: Arc<Visit>;
}

/// One request on its way through rmcp, and what became of it.
pub(crate) struct Visit {
    pub(super) owner: Owner,
    /// The session to take over from redis.
    pub(super) record: Option<Record>,
    /// The session that it opened or took over.
    pub(super) opened: OnceLock<SessionId>,
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

    pub(super) fn refuse(&self, refusal: Refusal) -> SessionError {
        let _ = self.refused.set(refusal);
        SessionError::Refused(refusal)
    }

    pub(super) fn current() -> Result<Arc<Self>, SessionError> {
        VISIT.try_with(Arc::clone).map_err(|_| SessionError::NoVisit)
    }
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
