//! Asks an issuer about a token (RFC 7662): for tokens that say nothing by themselves, and for JWTs that may have been
//! revoked. What cannot be asked is refused, never served.
//!
//! Nothing is remembered here: answers go into the token cache. Requests with the same token share one question.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tracing::{info, warn};
use url::Url;

use super::cache::TokenDigest;
use super::clock::Clock;
use super::fetch::{Credentials, FetchError, Fetcher};
use super::rejection::Reason;
use super::source::{Origin, discover};
use super::token::{Claims, OneOrMany};
use super::{discovery, source};
use crate::state::breaker::{Breaker, millis};

/// How long a good answer counts.
pub(super) const REMEMBERED: u64 = 60;
/// After a failure nobody asks for so long; then one does.
const PAUSE: Duration = Duration::from_secs(1);
/// Questions to one issuer at once. A flood of made-up tokens must not become one at the issuer.
const AT_ONCE: usize = 64;
/// Connections that are kept for the next question.
const IDLE_CONNECTIONS: usize = 8;

/// Whom to ask, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct IntrospectionSettings {
    pub(super) origin: Origin,
    /// Where, if not where the metadata says.
    pub(super) url: Option<Url>,
    pub(super) client_id: String,
    pub(super) client_secret_file: PathBuf,
    /// JWTs too.
    pub(super) all: bool,
}

/// What an issuer says of a token. Not `Debug`: it is about a person.
#[derive(Deserialize)]
pub(super) struct Answer {
    active: bool,
    token_type: Option<String>,
    /// What some issuers add, so that refresh tokens are told from access tokens.
    token_use: Option<String>,
    iss: Option<String>,
    aud: Option<OneOrMany>,
    exp: Option<f64>,
    nbf: Option<f64>,
    sub: Option<String>,
    client_id: Option<String>,
    scope: Option<OneOrMany>,
}

type Question = BoxFuture<'static, Option<Arc<Answer>>>;

/// Asks one issuer.
pub(super) struct Introspector {
    settings: IntrospectionSettings,
    clock: Arc<dyn Clock>,
    breaker: Breaker,
    room: Semaphore,
    /// The questions under way.
    flights: Mutex<HashMap<TokenDigest, WeakShared<Question>>>,
    /// What was found out for the first question, until one fails.
    connection: Mutex<Option<Connection>>,
    error: Mutex<Option<FetchError>>,
    answered: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone)]
struct Connection {
    fetcher: Fetcher,
    url: Url,
}

impl Introspector {
    pub(super) fn new(settings: IntrospectionSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            clock,
            breaker: Breaker::new(PAUSE, source::WAIT),
            room: Semaphore::new(AT_ONCE),
            flights: Mutex::default(),
            connection: Mutex::default(),
            error: Mutex::default(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(super) fn settings(&self) -> &IntrospectionSettings {
        &self.settings
    }

    /// What the issuer says of the token.
    pub(super) async fn ask(self: &Arc<Self>, token: &str, digest: &TokenDigest) -> Result<Arc<Answer>, Reason> {
        self.flight(token, digest).await.ok_or(Reason::Unavailable)
    }

    /// Why the last question failed.
    pub(super) fn error(&self) -> Option<FetchError> {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many questions were answered, and how many were not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// The question under way about that token, or a new one. It ends when nobody waits for it any more.
    fn flight(self: &Arc<Self>, token: &str, digest: &TokenDigest) -> Shared<Question> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(digest).and_then(WeakShared::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some());
        let (this, token) = (Arc::clone(self), token.to_owned());
        let flight = async move { this.round(&token).await.map(Arc::new) }.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(*digest, weak);
        }
        flight
    }

    async fn round(&self, token: &str) -> Option<Answer> {
        let _permit = tokio::select! {
            permit = self.room.acquire() => permit.ok()?,
            () = self.clock.sleep(source::DEADLINE) => return None,
        };
        if !self.breaker.admits(millis(self.clock.monotonic())) {
            return None;
        }
        let answer = tokio::select! {
            answer = self.question(token) => answer,
            () = self.clock.sleep(source::WAIT) => Err(FetchError::Timeout),
        };
        self.settle(answer)
    }

    async fn question(&self, token: &str) -> Result<Answer, FetchError> {
        let Connection { fetcher, url } = self.connection().await?;
        let secret = tokio::fs::read_to_string(&self.settings.client_secret_file).await.unwrap_or_default();
        let secret = secret.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(FetchError::SecretFile);
        }
        let credentials = Credentials { id: &self.settings.client_id, secret };
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        tokio::select! {
            answer = fetcher.post(&url, credentials, form) => answer,
            () = self.clock.sleep(source::DEADLINE) => Err(FetchError::Timeout),
        }
    }

    async fn connection(&self) -> Result<Connection, FetchError> {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(connection) = known {
            return Ok(connection);
        }
        let origin = &self.settings.origin;
        let fetcher = Fetcher::new(origin.ca_file.as_deref(), IDLE_CONNECTIONS).await?;
        let url = match &self.settings.url {
            Some(url) => url.clone(),
            None => discover(origin, &*self.clock, &fetcher, discovery::introspection_url).await?,
        };
        let connection = Connection { fetcher, url };
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }

    fn settle(&self, answer: Result<Answer, FetchError>) -> Option<Answer> {
        let issuer = &self.settings.origin.issuer;
        let error = answer.as_ref().err().copied();
        let before = std::mem::replace(&mut *self.error.lock().unwrap_or_else(PoisonError::into_inner), error);
        match error {
            None => {
                self.breaker.succeeded();
                self.answered.fetch_add(1, Ordering::Relaxed);
                if before.is_some() {
                    info!(issuer, "the issuer answers questions about tokens again");
                }
            }
            Some(error) => {
                self.breaker.failed(millis(self.clock.monotonic()));
                self.failed.fetch_add(1, Ordering::Relaxed);
                // Files, certificates and addresses may have changed.
                *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
                if before != Some(error) {
                    warn!(issuer, %error, "the issuer cannot be asked about tokens");
                }
            }
        }
        answer.ok()
    }
}

impl Answer {
    /// The issuer stands by the token. Whatever else it is about may be a refresh token, or of another issuer.
    pub(super) fn is_active_for(&self, issuer: &str) -> bool {
        let is = |kind: &Option<String>, known: &[&str]| {
            kind.as_deref().is_none_or(|kind| known.iter().any(|known| known.eq_ignore_ascii_case(kind)))
        };
        self.active
            && is(&self.token_type, &["bearer", "access_token"])
            && is(&self.token_use, &["access_token", "access"])
            && self.iss.as_deref().is_none_or(|named| named == issuer)
    }

    /// What it says, as the claims that a JWT would have. `now`: an answer that names no end is good for a minute.
    pub(super) fn claims(&self, issuer: &str, now: u64) -> Claims {
        Claims {
            iss: self.iss.clone().unwrap_or_else(|| issuer.to_owned()),
            aud: self.aud.clone().unwrap_or(OneOrMany::Many(Vec::new())),
            exp: self.exp.unwrap_or((now + REMEMBERED) as f64),
            nbf: self.nbf,
            sub: self.sub.clone(),
            client_id: self.client_id.clone(),
            azp: None,
            scope: self.scope.clone(),
            scp: None,
        }
    }
}
