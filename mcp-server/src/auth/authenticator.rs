//! The decision for one request, and what the rest of the runtime asks about it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::request::Parts;
use mcp_server_config::PublicUrl;
use mcp_server_config::report::IssuerReport;

use super::bearer;
use super::cache::{self, TokenCache, TokenDigest};
use super::clock::{Clock, SystemClock};
use super::introspection::{self, Introspector};
use super::principal::{Caller, Principal};
use super::rejection::{Reason, Rejection};
use super::resource;
use super::settings::{IssuerSettings, Settings, Setup, SetupError};
use super::source::{KeySource, Statistics};
use super::token::{self, Outcome, Unverified};

/// Decides who a caller is. One for each live configuration.
pub struct Authenticator {
    settings: Settings,
    path: String,
    issuers: Vec<Issuer>,
    tokens: Arc<TokenCache>,
    /// Stays set over reloads: a new issuer that cannot be reached must not take a running server out of service.
    loaded_once: AtomicBool,
    clock: Arc<dyn Clock>,
}

struct Issuer {
    name: Arc<str>,
    audiences: HashSet<String>,
    keys: Arc<KeySource>,
    introspector: Option<Arc<Introspector>>,
}

const NOT_ACTIVE: Reason = Reason::Invalid("no issuer stands by the token");

impl Authenticator {
    /// Makes one, and starts to fetch the keys of its issuers. Call within a tokio runtime.
    pub fn new(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let clock = setup.previous.map_or_else(|| Arc::new(SystemClock::new()) as _, |previous| previous.clock.clone());
        Self::with_clock(setup, clock)
    }

    /// As [`Authenticator::new`], with another clock than the machine's.
    pub fn with_clock(setup: &Setup<'_>, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let settings = Settings::of(setup)?;
        let previous = setup.previous;
        let issuers = settings.issuers.iter().map(|issuer| Issuer::new(issuer, previous, &clock)).collect();
        let tokens = previous
            .filter(|previous| previous.verifies_alike(&settings))
            .map_or_else(|| Arc::new(TokenCache::new(settings.cache_seconds)), |previous| previous.tokens.clone());
        Ok(Self {
            path: setup.path.to_owned(),
            issuers,
            tokens,
            loaded_once: AtomicBool::new(previous.is_some_and(Self::loaded_once)),
            clock,
            settings,
        })
    }

    /// Tokens that this one has verified are good under those settings too. Scopes are left out: what they allow is
    /// decided for each request, by [`crate::policy`].
    fn verifies_alike(&self, settings: &Settings) -> bool {
        self.settings.issuers == settings.issuers
            && self.settings.audiences == settings.audiences
            && self.settings.cache_seconds == settings.cache_seconds
    }

    /// Checks the request's token, but not what it allows. `asked` is the public URL under which the client reached us.
    pub async fn authenticate(&self, parts: &Parts, asked: &PublicUrl) -> Result<Caller, Rejection> {
        if self.issuers.is_empty() {
            return Ok(Caller::Anonymous);
        }
        self.decide(parts, asked).await.map_err(|reason| {
            let metadata = resource::metadata_url(asked, &self.path);
            Rejection::new(reason, metadata, &self.settings.required_scopes)
        })
    }

    async fn decide(&self, parts: &Parts, asked: &PublicUrl) -> Result<Caller, Reason> {
        let malformed = |bearer::Malformed(words)| Reason::Malformed(words);
        let Some(bearer) = bearer::of(parts).map_err(malformed)? else {
            return if self.settings.anonymous { Ok(Caller::Anonymous) } else { Err(Reason::Missing) };
        };

        if bearer.0.len() > token::MAX_BYTES {
            return Err(bearer.token().map_or_else(malformed, |_| Reason::Invalid("the token is too long")));
        }
        let digest = cache::digest(bearer.0, asked.origin());
        let now = self.clock.unix();
        match self.tokens.get(&digest, now) {
            Some(principal) => Ok(Caller::Principal(principal)),
            None => {
                let token = bearer.token().map_err(malformed)?;
                self.learn(token, digest, asked, now).await.map(Caller::Principal)
            }
        }
    }

    /// Finds out whose token that is, and remembers it.
    async fn learn(
        &self,
        token: &str,
        digest: TokenDigest,
        asked: &PublicUrl,
        now: u64,
    ) -> Result<Arc<Principal>, Reason> {
        if let Some(reason) = self.tokens.refused(&digest, now) {
            return Err(reason);
        }
        let asks = self.issuers.iter().any(|issuer| issuer.introspector.is_some());
        let (principal, at_most) = if asks && !token::is_jwt(token) {
            let learned = self.ask(token, &digest, asked).await;
            (self.remember_refusal(learned, digest, now)?, introspection::REMEMBERED)
        } else {
            let (issuer, principal) = self.verify(token, asked).await?;
            match &issuer.introspector {
                Some(introspector) if introspector.settings().all => {
                    let standing = Self::stands_by(issuer, introspector, token, &digest).await;
                    self.remember_refusal(standing, digest, now)?;
                    (principal, introspection::REMEMBERED)
                }
                Some(_) | None => (principal, u64::MAX),
            }
        };
        let principal = Arc::new(principal);
        self.tokens.put(digest, Arc::clone(&principal), now, at_most);
        Ok(principal)
    }

    /// A bad answer is remembered for a moment; none is not.
    fn remember_refusal<T>(&self, answer: Result<T, Reason>, token: TokenDigest, now: u64) -> Result<T, Reason> {
        if let Err(reason) = &answer
            && *reason != Reason::Unavailable
        {
            self.tokens.refuse(token, *reason, now);
        }
        answer
    }

    /// The owner of a token that says nothing by itself, by the first issuer that knows it.
    async fn ask(&self, token: &str, digest: &TokenDigest, asked: &PublicUrl) -> Result<Principal, Reason> {
        let mut refusal = NOT_ACTIVE;
        for issuer in &self.issuers {
            let Some(introspector) = &issuer.introspector else { continue };
            match introspector.ask(token, digest).await {
                Ok(answer) if answer.is_active_for(&issuer.name) => {
                    let now = self.clock.unix();
                    let accepts = |audience: &str| self.accepts(issuer, audience, asked);
                    return answer.claims(&issuer.name, now).check(&issuer.name, accepts, now);
                }
                Ok(_) => {}
                // Perhaps it is one of this issuer.
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }

    /// The issuer has not revoked its JWT.
    async fn stands_by(
        issuer: &Issuer,
        introspector: &Arc<Introspector>,
        token: &str,
        digest: &TokenDigest,
    ) -> Result<(), Reason> {
        let answer = introspector.ask(token, digest).await?;
        if answer.is_active_for(&issuer.name) { Ok(()) } else { Err(NOT_ACTIVE) }
    }

    /// The refusal of a caller that has not all of these scopes. Who came without a token is asked for one.
    pub(crate) fn lacks(&self, caller: &Caller, asked: &PublicUrl, scopes: &[&str]) -> Rejection {
        let reason = match caller {
            Caller::Principal(_) => Reason::InsufficientScope,
            Caller::Anonymous => Reason::Missing,
        };
        Rejection::new(reason, resource::metadata_url(asked, &self.path), scopes)
    }

    async fn verify(&self, token: &str, asked: &PublicUrl) -> Result<(&Issuer, Principal), Reason> {
        let unverified = Unverified::read(token)?;
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| *issuer.name == *unverified.issuer)
            .ok_or(Reason::Invalid("the token's issuer is not accepted here"))?;
        // Before any key is looked for: a token that cannot be good must not cause a fetch.
        if !issuer.keys.origin().algorithms.contains(&unverified.algorithm()) {
            return Err(Reason::Invalid("the token's algorithm is not accepted here"));
        }

        let seen = issuer.keys.keys().await.ok_or(Reason::Unavailable)?;
        let outcome = match unverified.verify(token, &seen.keys) {
            Outcome::UnknownKey => match issuer.keys.newer(&seen).await {
                Some(newer) => unverified.verify(token, &newer.keys),
                None => Outcome::UnknownKey,
            },
            outcome => outcome,
        };
        match outcome {
            Outcome::Signed(claims) => {
                let accepts = |audience: &str| self.accepts(issuer, audience, asked);
                Ok((issuer, claims.check(&issuer.name, accepts, self.clock.unix())?))
            }
            Outcome::UnknownKey => Err(Reason::Invalid("the token is signed with a key that its issuer does not name")),
            Outcome::Refused(reason) => Err(reason),
        }
    }

    /// The audience means this server: by the issuer's own list, else by any of the URLs under which we are reached.
    fn accepts(&self, issuer: &Issuer, audience: &str, asked: &PublicUrl) -> bool {
        let audience = resource::canonical(audience);
        if !issuer.audiences.is_empty() {
            return issuer.audiences.contains(&audience);
        }
        // A loopback name is in no list, but `asked` is always a name that the server accepts.
        self.settings.audiences.contains(&audience) || audience == resource::resource(asked, &self.path)
    }

    /// The RFC 9728 document for that public URL; `None` where every caller is served.
    #[must_use]
    pub fn metadata(&self, asked: &PublicUrl) -> Option<serde_json::Value> {
        if self.issuers.is_empty() {
            return None;
        }
        let issuers = self.issuers.iter().map(|issuer| &*issuer.name);
        let resource = match &self.settings.resource {
            Some(resource) => resource.clone(),
            None => resource::resource(asked, &self.path),
        };
        Some(resource::document(&resource, issuers, &self.settings.scopes))
    }

    /// Each issuer, for `/server` and `/health`.
    #[must_use]
    pub fn reports(&self) -> Vec<IssuerReport> {
        self.issuers.iter().map(Issuer::report).collect()
    }

    /// Each issuer, for the metrics.
    pub(super) fn statistics(&self) -> impl Iterator<Item = Statistics> {
        self.issuers.iter().map(|issuer| Statistics {
            introspections: issuer.introspector.as_ref().map(|introspector| introspector.counts()),
            ..issuer.keys.statistics()
        })
    }

    /// How often a token was remembered, and how often not.
    pub(super) fn lookups(&self) -> (u64, u64) {
        self.tokens.lookups()
    }

    /// The check `auth_server` of `/health`: `None` where no issuer is configured, an error where the last attempt to
    /// reach one failed. The words are fixed and name no address.
    #[must_use]
    pub fn health(&self) -> Option<Result<(), String>> {
        if self.issuers.is_empty() {
            return None;
        }
        let failed = self.reports().into_iter().find_map(|report| match report {
            IssuerReport { error: Some(error), .. } => Some(error),
            IssuerReport { ok: true, .. } => None,
            IssuerReport { ok: false, .. } => Some("the authorization server's keys are not loaded yet".to_owned()),
        });
        Some(failed.map_or(Ok(()), Err))
    }

    /// The keys of every issuer have been there once: gates `/readyz`.
    #[must_use]
    pub fn loaded_once(&self) -> bool {
        if self.loaded_once.load(Ordering::Relaxed) {
            return true;
        }
        let loaded = self.issuers.iter().all(|issuer| issuer.keys.loaded_once());
        if loaded {
            self.loaded_once.store(true, Ordering::Relaxed);
        }
        loaded
    }
}

impl Issuer {
    /// With the keys of the previous configuration where nothing about them has changed.
    fn new(settings: &IssuerSettings, previous: Option<&Authenticator>, clock: &Arc<dyn Clock>) -> Self {
        let IssuerSettings { origin, audiences, introspection } = settings;
        let before = || previous.into_iter().flat_map(|previous| &previous.issuers);
        let keys = before().map(|issuer| &issuer.keys).find(|keys| keys.origin() == origin);
        let introspector = introspection.as_ref().map(|settings| {
            let known = before().filter_map(|issuer| issuer.introspector.as_ref());
            let known = known.into_iter().find(|known| known.settings() == settings).cloned();
            known.unwrap_or_else(|| Arc::new(Introspector::new(settings.clone(), clock.clone())))
        });
        Self {
            name: origin.issuer.as_str().into(),
            audiences: audiences.clone(),
            keys: keys.cloned().unwrap_or_else(|| Arc::new(KeySource::start(origin.clone(), clock.clone()))),
            introspector,
        }
    }

    fn report(&self) -> IssuerReport {
        let mut report = self.keys.report();
        let failed = self.introspector.as_ref().and_then(|introspector| introspector.error());
        report.error = report.error.or_else(|| failed.map(|error| error.to_string()));
        report
    }
}
