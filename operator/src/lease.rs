//! Leader election by a Lease, as client-go does it: a leader that was not seen to renew for the lease's duration is gone.
//!
//! Own code because the published crates compare the holder's clock with ours, and write without a precondition, so that
//! two may hold the lease at once. Here silence is measured by our own clock alone, and each write carries the version
//! that was read. Who loses the lease must exit: half a reconcile of the past is worse than a restart.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::desired::identity::MANAGER;

/// Name of the Lease.
pub const NAME: &str = "mcp-operator";
/// A leader that is silent for so long is gone.
pub const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long gives up: well before others take over.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Between renewals, and between looks at another's lease.
const PERIOD: Duration = Duration::from_secs(2);
/// Time for one request.
const PATIENCE: Duration = Duration::from_secs(4);

/// The lease, as one candidate sees it.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    identity: String,
    held: Option<Lease>,
}

/// What a candidate may do about a lease that it has just looked at.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// It is ours.
    Ours,
    /// Nobody has it.
    Free,
    /// Somebody has it.
    Taken,
}

/// How long a lease has been the same.
#[derive(Debug)]
struct Silence {
    resource_version: String,
    since: Instant,
}

impl Election {
    /// A candidate with a name that no other process has.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), identity, held: None }
    }

    /// Waits until this process leads.
    pub async fn win(&mut self) {
        info!(identity = self.identity, "waiting for the lease");
        let mut silence = None;
        loop {
            match timeout(PATIENCE, self.attempt(&mut silence)).await {
                Ok(Ok(true)) => {
                    info!(identity = self.identity, "leads");
                    return;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "cannot read or write the lease"),
                Err(_) => warn!("the API server does not answer"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews until that fails for too long: then this process must not write any more.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < GIVE_UP {
            sleep(PERIOD).await;
            match timeout(PATIENCE, self.renew()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => {
                    warn!("somebody else holds the lease");
                    return;
                }
                Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "cannot renew the lease"),
                Err(_) => warn!("cannot renew the lease: the API server does not answer"),
            }
        }
    }

    /// Gives the lease back, so that the next process need not wait.
    pub async fn release(mut self) {
        let Some(mut lease) = self.held.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        spec.lease_duration_seconds = Some(1);
        match timeout(PATIENCE, self.write(lease)).await {
            Ok(Ok(_)) => info!("lease released"),
            Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "lease not released"),
            Err(_) => debug!("lease not released in time"),
        }
    }

    async fn attempt(&mut self, silence: &mut Option<Silence>) -> Result<bool, kube::Error> {
        let now = Instant::now();
        let written = match self.api.get_opt(NAME).await? {
            None => self.create().await,
            Some(lease) => match claim(&lease, &self.identity, silence, now) {
                Claim::Taken => return Ok(false),
                Claim::Ours | Claim::Free => self.write(taken(lease, &self.identity)).await,
            },
        };
        match written {
            Ok(lease) => {
                self.held = Some(lease);
                Ok(true)
            }
            // Another candidate was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn renew(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.held.clone() else { return Ok(false) };
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        match self.write(lease).await {
            Ok(lease) => {
                self.held = Some(lease);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => self.look_again().await,
            Err(error) => Err(error),
        }
    }

    /// Our version is old: the answer to a renewal was lost, somebody edited the Lease, or somebody took it.
    async fn look_again(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(NAME).await?;
        self.held = lease.filter(|lease| holder(lease) == Some(&self.identity));
        Ok(self.held.is_some())
    }

    async fn create(&self) -> Result<Lease, kube::Error> {
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let lease = taken(Lease { metadata, spec: None }, &self.identity);
        self.api.create(&params(), &lease).await
    }

    async fn write(&self, lease: Lease) -> Result<Lease, kube::Error> {
        // A replace carries the resource version that was read: it fails when somebody else wrote in between.
        self.api.replace(NAME, &params(), &lease).await
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn claim(lease: &Lease, identity: &str, silence: &mut Option<Silence>, now: Instant) -> Claim {
    let Some(holder) = holder(lease) else { return Claim::Free };
    if holder == identity {
        return Claim::Ours;
    }
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    let duration = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let duration = duration.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
    match silence {
        Some(silence) if silence.resource_version == version => {
            if now.duration_since(silence.since) > duration {
                Claim::Free
            } else {
                Claim::Taken
            }
        }
        _ => {
            *silence = Some(Silence { resource_version: version, since: now });
            Claim::Taken
        }
    }
}

fn taken(mut lease: Lease, identity: &str) -> Lease {
    let now = MicroTime(Timestamp::now());
    let before = lease.spec.take().unwrap_or_default();
    let same = before.holder_identity.as_deref() == Some(identity);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: if same { before.acquire_time.clone() } else { Some(now.clone()) },
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!same)),
        ..before
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            // A clock that is years ahead must not matter.
            renew_time: Some(MicroTime(Timestamp::MAX)),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    #[test]
    fn a_silent_holder_is_gone_by_our_own_clock() {
        let (start, mut silence) = (Instant::now(), None);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(claim(&lease("other", "1"), "me", &mut silence, at(0)), Claim::Taken);
        assert_eq!(claim(&lease("other", "1"), "me", &mut silence, at(15)), Claim::Taken);
        assert_eq!(claim(&lease("other", "1"), "me", &mut silence, at(16)), Claim::Free);
    }

    #[test]
    fn each_renewal_starts_the_silence_anew() {
        let (start, mut silence) = (Instant::now(), None);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(claim(&lease("other", "1"), "me", &mut silence, at(0)), Claim::Taken);
        assert_eq!(claim(&lease("other", "2"), "me", &mut silence, at(14)), Claim::Taken);
        assert_eq!(claim(&lease("other", "2"), "me", &mut silence, at(28)), Claim::Taken);
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        assert_eq!(claim(&lease("", "1"), "me", &mut None, Instant::now()), Claim::Free);
        assert_eq!(claim(&lease("me", "1"), "me", &mut None, Instant::now()), Claim::Ours);
    }

    #[test]
    fn taking_counts_a_transition_and_renewing_does_not() {
        let transitions = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        let first = taken(lease("other", "1"), "me");
        assert_eq!(transitions(&first), Some(1));
        assert_eq!(transitions(&taken(first, "me")), Some(1));
    }
}
