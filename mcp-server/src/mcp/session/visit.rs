//! One request on its way through rmcp. rmcp's HTTP layer tells its session manager nothing about the request; both run
//! in the request's own task, so it travels as a task-local.

use std::sync::{Arc, OnceLock};

use rmcp::transport::streamable_http_server::session::SessionId;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManagerError;

use super::{Gate, Local, Owner, Record, Refusal};

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

/// Lets go of the visit's session, also where the client went away in the middle. One that was taken over stays as soon
/// as it is open: by then there may be others in it.
pub(crate) struct Unanswered<'a> {
    gate: &'a Gate<Local>,
    visit: &'a Visit,
    well: bool,
}

impl<'a> Unanswered<'a> {
    pub(crate) fn new(gate: &'a Gate<Local>, visit: &'a Visit) -> Self {
        Self { gate, visit, well: false }
    }

    /// The visit is over, with success or not.
    pub(crate) fn answered(&mut self, well: bool) {
        self.well = well;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(id) = self.visit.opened().filter(|_| !self.well) else { return };
        let taken_over = self.visit.record.is_some();
        let stays = taken_over && self.gate.held(id).is_some_and(|entry| entry.content.is_open());
        if !stays {
            self.gate.release(id);
        }
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

#[cfg(test)]
mod tests {
    use super::super::local::Phase;
    use super::*;
    use crate::auth::Caller;
    use crate::state::SessionKey;

    /// Whether the session is still held after a visit that came to nothing.
    fn stays(taken_over: bool, phase: Phase) -> bool {
        let gate = Gate::new(&mcp_server_config::Sessions::default(), None);
        let owner = Owner::of(&Caller::Anonymous, &SessionKey::random());
        let id = super::super::new_id();
        let entry = gate.hold(id.clone(), owner, None, Local::new()).expect("room");
        entry.content.phase.send_replace(phase);
        let record = Record { owner, created: entry.created, content: String::new() };
        let visit = Visit::new(owner, taken_over.then_some(record));
        visit.opened.set(id.clone()).expect("not yet set");
        drop(Unanswered::new(&gate, &visit));
        gate.held(&id).is_some()
    }

    #[tokio::test]
    async fn only_a_session_that_others_may_be_in_stays() {
        assert!(stays(true, Phase::Open));
        assert!(!stays(true, Phase::Opening), "nobody would ever open it");
        assert!(!stays(false, Phase::Open), "its client never learned of it");
    }
}
