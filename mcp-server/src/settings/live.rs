//! The live configuration in the form that the layers use, swapped as one.

use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::header::InvalidHeaderValue;
use mcp_server_config::report::LiveReport;
use mcp_server_config::{Config, Live};

use super::LoadedLive;
use crate::auth::{self, Authenticator};
use crate::http::cors::Rules;
use crate::http::host::Hosts;
use crate::limits;
use crate::policy::Policy;

/// Everything that a reload may change. A request keeps the one it began with.
#[derive(Clone)]
pub struct LiveState {
    /// The sections as written.
    pub live: Live,
    /// The digest of the file.
    pub digest: String,
    /// The names of this server.
    pub hosts: Hosts,
    /// Which pages may call.
    pub cors: Rules,
    /// How many processes serve, this one among them: each gives its share of a rate.
    pub replicas: NonZeroU32,
    /// How often, and how much at once.
    pub limits: Arc<limits::Rules>,
    /// Who may call.
    pub authenticator: Arc<Authenticator>,
    /// What callers may do.
    pub policy: Arc<Policy>,
}

/// Why a checked configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An issuer cannot be used, as when its CA file is missing.
    #[error(transparent)]
    Auth(#[from] auth::SetupError),
    /// A value that cannot stand in a header.
    #[error("cors: a value cannot stand in a header: {0}")]
    Cors(#[from] InvalidHeaderValue),
}

impl LiveState {
    /// What has not changed since `previous` (key sets) is kept. Call within a tokio runtime.
    pub fn new(config: &Config, loaded: LoadedLive, previous: Option<&Self>) -> Result<Self, SetupError> {
        let LoadedLive { live, digest } = loaded;
        let authenticator = Authenticator::new(&auth::Setup {
            auth: live.auth.as_ref(),
            http: &live.http,
            path: &config.server.path,
            previous: previous.map(|previous| &*previous.authenticator),
        })?;
        let replicas = previous.map_or(NonZeroU32::MIN, |previous| previous.replicas);
        Ok(Self {
            hosts: Hosts::new(&live, config.server.host),
            cors: Rules::new(&live.cors)?,
            replicas,
            limits: Arc::new(limits::Rules::new(&live.rate_limits, replicas)),
            authenticator: Arc::new(authenticator),
            policy: Arc::new(Policy::new(&live)),
            live,
            digest,
        })
    }

    /// The same for another number of replicas.
    #[must_use]
    pub fn among(&self, replicas: NonZeroU32) -> Self {
        let limits = Arc::new(limits::Rules::new(&self.live.rate_limits, replicas));
        Self { replicas, limits, ..self.clone() }
    }
}

/// The state in use, and why a newer one is not.
pub struct LiveStore {
    current: ArcSwap<LiveState>,
    error: ArcSwapOption<String>,
}

impl LiveStore {
    /// Begins with that state.
    #[must_use]
    pub fn new(state: LiveState) -> Self {
        Self { current: ArcSwap::from_pointee(state), error: ArcSwapOption::empty() }
    }

    /// The state in use.
    #[must_use]
    pub fn current(&self) -> Arc<LiveState> {
        self.current.load_full()
    }

    /// From now on requests begin with that state, which is of the newest file.
    pub fn replace(&self, state: LiveState) {
        self.current.store(Arc::new(state));
        self.error.store(None);
    }

    /// From now on so many processes serve. That is no part of the file.
    pub fn share(&self, replicas: NonZeroU32) {
        self.current.store(Arc::new(self.current.load().among(replicas)));
    }

    /// The newest file is refused; the state in use stays.
    pub fn refuse(&self, why: String) {
        self.error.store(Some(Arc::new(why)));
    }

    /// For `/server`.
    #[must_use]
    pub fn report(&self) -> LiveReport {
        LiveReport { digest: self.current.load().digest.clone(), error: self.error.load().as_deref().cloned() }
    }
}
