//! What outlives a request and is not the backend's: the redis that replicas share, and the key that binds sessions to
//! their owners. Sessions themselves are in [`crate::mcp`]; here is only where they are written.
//!
//! ```text
//! Redis   run, run_all, script, waiting; breaker           what callers see, whatever stands behind it
//!   Link    lanes: pipelined connections, made anew when they break
//!     Target    what the configuration and its files say: one server, sentinels, a cluster
//! ```

pub(crate) mod breaker;
mod fault;
mod keys;
mod link;
mod observed;
mod redis;
mod replica;
mod script;
mod source;

use std::sync::Arc;

use mcp_server_config::{Config, Keys, SessionStore};

use crate::peers::Peers;

pub use self::keys::SessionKey;
pub(crate) use self::keys::random_bytes;
pub(crate) use self::keys::rotating::{PeerKey, StateKeys};
pub use self::redis::{Redis, Unavailable, Waiting};
pub use self::replica::Replica;
pub(crate) use self::replica::wall_clock;
pub use self::script::Script;

/// Why the state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A key file is missing or too short.
    #[error("keys.dir: {0}; give a directory with the file `session` of 32 random bytes or more")]
    Keys(String),
    /// The redis section is wrong.
    #[error("redis: {0}")]
    Redis(String),
    /// Sessions are to be in a redis that is not configured.
    #[error("sessions.store is `redis`, but there is no section `redis`: add one, or set sessions.store to `memory`")]
    NoRedis,
}

/// Memory, or redis.
pub struct State {
    redis: Option<Arc<Redis>>,
    sessions_in_redis: bool,
    session_key: SessionKey,
    request_state_keys: Arc<StateKeys>,
    replica: Arc<Replica>,
    peers: Option<Arc<Peers>>,
}

impl State {
    /// Opens the state. It does not wait for redis: `/readyz` does. Call within a tokio runtime.
    pub async fn open(config: &Config) -> Result<Arc<Self>, StateError> {
        let redis = match &config.redis {
            Some(section) => Some(Redis::open(section, &config.server.name).await.map_err(StateError::Redis)?),
            None => None,
        };
        let sessions_in_redis = match config.sessions.store {
            Some(SessionStore::Redis) if redis.is_none() => return Err(StateError::NoRedis),
            Some(SessionStore::Redis) => true,
            Some(SessionStore::Memory) => false,
            None => redis.is_some(),
        };
        let session_key = match &config.keys {
            Some(keys) => SessionKey::read(&keys.dir).await.map_err(StateError::Keys)?,
            None => {
                if sessions_in_redis {
                    tracing::warn!(
                        "no keys.dir: the key that binds sessions to their owners lives with this process, so sessions in \
                         redis end with it and no other replica serves them"
                    );
                }
                SessionKey::random()
            }
        };
        let request_state_keys = match &config.keys {
            Some(keys) => StateKeys::read(&keys.dir).await.map_err(StateError::Keys)?,
            None => StateKeys::random(),
        };
        let request_state_keys = Arc::new(request_state_keys);
        let replica = Replica::start(redis.clone());
        let peers = peers(config, sessions_in_redis, &replica).await.map_err(StateError::Keys)?;
        let this = Arc::new(Self { redis, sessions_in_redis, session_key, request_state_keys, replica, peers });
        if let Some(Keys { dir }) = &config.keys {
            tokio::spawn(keys::watch(Arc::downgrade(&this), dir.clone()));
        }
        Ok(this)
    }

    /// The other replicas; `None` where requests are not forwarded to them.
    #[must_use]
    pub fn peers(&self) -> Option<&Arc<Peers>> {
        self.peers.as_ref()
    }

    /// `memory` or `redis`: where sessions are.
    #[must_use]
    pub fn session_store(&self) -> &'static str {
        if self.sessions_in_redis { "redis" } else { "memory" }
    }

    /// The redis that replicas share, where one is configured.
    #[must_use]
    pub fn redis(&self) -> Option<&Arc<Redis>> {
        self.redis.as_ref()
    }

    /// The redis for sessions: `None` where they are kept in memory.
    #[must_use]
    pub fn session_redis(&self) -> Option<&Arc<Redis>> {
        self.redis.as_ref().filter(|_| self.sessions_in_redis)
    }

    /// Binds sessions to their owners.
    #[must_use]
    pub fn session_key(&self) -> &SessionKey {
        &self.session_key
    }

    /// What seals the `requestState` of 2026-07-28.
    pub(crate) fn request_state_keys(&self) -> &Arc<StateKeys> {
        &self.request_state_keys
    }

    /// This process among those that serve.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Asks redis for a sign of life, within its socket timeout; `None` where no redis is configured. The error has
    /// fixed wording: it is shown to everybody in `/health`.
    pub async fn ping(&self) -> Option<Result<(), &'static str>> {
        match &self.redis {
            Some(redis) => Some(redis.ping().await),
            None => None,
        }
    }

    /// Redis has answered once, or none is configured: gates `/readyz`.
    #[must_use]
    pub fn first_success(&self) -> bool {
        self.redis.as_ref().is_none_or(|redis| redis.answered_once())
    }
}

/// Replicas forward to each other where they share sessions and a key.
async fn peers(config: &Config, shared: bool, replica: &Arc<Replica>) -> Result<Option<Arc<Peers>>, String> {
    let Some(keys) = config.keys.as_ref().filter(|_| shared) else { return Ok(None) };
    let Some(key) = PeerKey::read(&keys.dir).await? else {
        tracing::warn!(
            "keys.dir has no file `peer`: requests are not forwarded between replicas, so a session whose state lives in \
             one of them is found there only; give the file 32 random bytes or more, the same for all replicas"
        );
        return Ok(None);
    };
    Ok(Some(Peers::new(config.peers.as_ref(), key, Arc::clone(replica))))
}
