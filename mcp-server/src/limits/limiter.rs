//! Decides. See the module for which bucket is asked when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use mcp_server_config::Count;
use prometheus::IntCounter;
use serde_json::value::RawValue;
use tracing::debug;

use super::buckets::{Buckets, Key};
use super::gcra::Rate;
use super::places::{Place, Places};
use super::rules::{Kind, Quota, Rules};
use super::shared::{Shared, Verdict};
use super::who::Who;
use crate::mcp::error::Failure;
use crate::metrics::{Metrics, register};
use crate::state::Redis;

/// The buckets of this process, and those that it shares.
pub struct Limiter {
    clients: Buckets,
    /// Of principals and their tools: addresses, of which anybody has many, cannot push them out.
    principals: Buckets,
    calls: Arc<Places>,
    shared: Option<Arc<Shared>>,
    metrics: Arc<Metrics>,
    degraded: IntCounter,
    /// Zero of the buckets' clock.
    start: Instant,
}

/// Why a request is not served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: Kind,
    pub(super) wait: Duration,
}

impl Limiter {
    /// With that redis buckets are shared.
    pub fn new(redis: Option<&Arc<Redis>>, metrics: &Arc<Metrics>) -> Result<Arc<Self>, prometheus::Error> {
        Ok(Arc::new(Self {
            clients: Buckets::new(),
            principals: Buckets::new(),
            calls: Places::new(),
            shared: redis.cloned().map(Shared::new),
            metrics: Arc::clone(metrics),
            degraded: register::counter(
                metrics.registry(),
                "mcp_rate_limit_degraded_total",
                "Requests that were decided by this replica's share because redis did not say in time",
            )?,
            start: Instant::now(),
        }))
    }

    /// Debits a client's address, here only.
    pub(super) fn take_client(&self, rules: &Rules, client: &Who<'_>) -> Result<(), Refused> {
        let Some((_, quota)) = &rules.client else { return Ok(()) };
        self.take(quota, client, self.rate(quota), self.now()).map_err(|refused| self.early(refused))?;
        self.metrics.rate_limit(Kind::Client.as_str(), true);
        Ok(())
    }

    /// Debits it in redis too. Nobody waits for that; how full the bucket is is known here afterwards.
    pub(super) fn take_client_later(self: &Arc<Self>, rules: &Arc<Rules>, client: Who<'static>) {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_there()) else { return };
        let Some(turn) = shared.later() else { return };
        let (this, rules, shared) = (Arc::clone(self), Arc::clone(rules), Arc::clone(shared));
        tokio::spawn(async move {
            let _turn = turn;
            let Some((_, quota)) = &rules.client else { return };
            let asked = [(quota, client)];
            if let Some(verdict) = shared.take_all(&asked).await {
                this.learn(&asked, &verdict);
            }
        });
    }

    /// Whether a principal has room at all. Takes nothing: [`Limiter::admit`] does, once all is known.
    pub(super) fn check_principal(&self, rules: &Rules, caller: &Who<'_>) -> Result<(), Refused> {
        let Some(quota) = &rules.principal else { return Ok(()) };
        self.check(quota, caller, self.rate(quota), self.now()).map_err(|refused| self.early(refused))
    }

    /// Takes one request from every bucket that it needs, or from none. Returns whether redis was debited.
    pub(super) async fn admit(
        &self,
        rules: &Rules,
        client: Option<Who<'_>>,
        caller: Who<'_>,
        tool: Option<&str>,
    ) -> Result<bool, Refused> {
        let of_caller = rules.principal.iter().chain(rules.of_tool(tool)).map(|quota| (quota, caller));
        if let Some(shared) = &self.shared {
            let counted = rules.client.as_ref().filter(|(count, _)| *count == Count::Requests);
            let of_client = counted.zip(client).map(|((_, quota), client)| (quota, client));
            let asked: Vec<_> = of_client.into_iter().chain(of_caller.clone()).collect();
            if asked.is_empty() {
                return Ok(false);
            }
            if shared.is_there() {
                // What is known to be full is refused here: a flood costs redis nothing.
                of_caller
                    .clone()
                    .try_for_each(|(quota, caller)| self.check(quota, &caller, &quota.whole, self.now()))?;
            }
            if let Some(verdict) = shared.take_all(&asked).await {
                self.learn(&asked, &verdict);
                return self.judge(&asked, &verdict).map(|()| true);
            }
            self.degraded.inc();
        }
        of_caller.clone().try_for_each(|(quota, caller)| self.check(quota, &caller, &quota.share, self.now()))?;
        for (quota, caller) in of_caller {
            // Between the two another request may have taken the last one.
            self.take(quota, &caller, &quota.share, self.now())?;
            self.metrics.rate_limit(quota.kind.as_str(), true);
        }
        Ok(false)
    }

    /// A place for one more call of the caller, where they are counted.
    pub(super) fn place(&self, rules: &Rules, caller: Who<'_>) -> Result<Option<Place>, Refused> {
        let Some(most) = rules.concurrent_calls else { return Ok(None) };
        // Nobody knows when a call ends.
        let refused = Refused { kind: Kind::ConcurrentCalls, wait: Duration::from_secs(1) };
        let place = self.calls.take(caller, most).ok_or(refused)?;
        self.metrics.rate_limit(Kind::ConcurrentCalls.as_str(), true);
        Ok(Some(place))
    }

    /// 429 with the time to wait, under the request's id where that is known.
    pub(super) fn refuse(&self, refused: Refused, id: Option<&RawValue>) -> Response {
        let Refused { kind, wait } = refused;
        debug!(limit = kind.as_str(), "a limit is reached");
        self.metrics.rate_limit(kind.as_str(), false);
        let message = match kind {
            Kind::Client => "Too many requests from this address.",
            Kind::Principal => "Too many requests.",
            Kind::Tool => "Too many calls of this tool.",
            Kind::ConcurrentCalls => "Too many calls at once.",
        };
        Failure::too_many(message, wait).of(id).response()
    }

    /// Refused before [`Limiter::admit`], which counts what redis did not decide.
    fn early(&self, refused: Refused) -> Refused {
        if self.shared.as_ref().is_some_and(|shared| !shared.is_there()) {
            self.degraded.inc();
        }
        refused
    }

    /// What redis has refused or allowed.
    fn judge(&self, asked: &[(&Quota, Who<'_>)], verdict: &Verdict) -> Result<(), Refused> {
        if let Some((bucket, wait)) = verdict.refused
            && let Some((quota, _)) = asked.get(bucket)
        {
            return Err(Refused { kind: quota.kind, wait });
        }
        // The client's has been counted when it came.
        let kinds = asked.iter().map(|(quota, _)| quota.kind).filter(|kind| *kind != Kind::Client);
        kinds.for_each(|kind| self.metrics.rate_limit(kind.as_str(), true));
        Ok(())
    }

    /// The buckets here are at least as full as those in redis, which other replicas debit too.
    fn learn(&self, asked: &[(&Quota, Who<'_>)], verdict: &Verdict) {
        let now = self.now();
        for ((quota, who), level) in asked.iter().zip(&verdict.levels) {
            let level = u64::try_from(level.as_nanos()).unwrap_or(u64::MAX);
            let (buckets, key) = self.bucket(quota, who);
            buckets.raise(key, now.saturating_add(level));
        }
    }

    fn check(&self, quota: &Quota, who: &Who<'_>, rate: &Rate, now: u64) -> Result<(), Refused> {
        let (buckets, key) = self.bucket(quota, who);
        buckets.check(key, rate, now).map_err(|wait| Refused { kind: quota.kind, wait })
    }

    fn take(&self, quota: &Quota, who: &Who<'_>, rate: &Rate, now: u64) -> Result<(), Refused> {
        let (buckets, key) = self.bucket(quota, who);
        buckets.take(key, rate, now).map_err(|wait| Refused { kind: quota.kind, wait })
    }

    fn bucket(&self, quota: &Quota, who: &Who<'_>) -> (&Buckets, Key) {
        let buckets = if quota.kind == Kind::Client { &self.clients } else { &self.principals };
        (buckets, buckets.key((quota.name.as_str(), who)))
    }

    /// While redis counts for all replicas, one of them may serve the whole rate; else each serves its share.
    fn rate<'a>(&self, quota: &'a Quota) -> &'a Rate {
        let shared = self.shared.as_ref().is_some_and(|shared| shared.is_there());
        if shared { &quota.whole } else { &quota.share }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
