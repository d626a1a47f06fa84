//! Leader election by a Lease, as client-go does it: a leader that was not seen to renew for the lease's duration is gone.
//!
//! Own code because the published crates compare the holder's clock with ours, and write without a precondition, so that
//! two may hold the lease at once. Here silence is measured by our own clock alone, and each write carries the version
//! that was read. Who loses the lease must exit: half a reconcile of the past is worse than a restart.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use crate::desired::identity::MANAGER;

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
    name: String,
    identity: String,
    held: Option<Lease>,
    /// When the write that we hold it by was sent: others count from its arrival, which is later.
    renewed: Instant,
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
    /// A candidate for the Lease `name`, with an identity that no other process has.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: String, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name, identity, held: None, renewed: Instant::now() }
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
        loop {
            let deadline = self.renewed + GIVE_UP;
            match timeout_at(deadline, self.renew_once()).await {
                Ok(true) => {}
                Ok(false) => return warn!("somebody else holds the lease"),
                Err(_) => return warn!("the lease could not be renewed for {} seconds", GIVE_UP.as_secs()),
            }
        }
    }

    /// Whether the lease may still be ours: a renewal that failed is tried again until [`GIVE_UP`].
    async fn renew_once(&mut self) -> bool {
        sleep(PERIOD).await;
        match timeout(PATIENCE, self.renew()).await {
            Ok(Ok(ours)) => return ours,
            Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "cannot renew the lease"),
            Err(_) => warn!("cannot renew the lease: the API server does not answer"),
        }
        true
    }

    /// Gives the lease back, so that the next process need not wait.
    pub async fn release(mut self) {
        let released = self.update(|spec| {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            spec.lease_duration_seconds = Some(1);
        });
        match timeout(PATIENCE, released).await {
            Ok(Ok(true)) => info!("lease released"),
            Ok(Ok(false)) => info!("somebody else holds the lease already"),
            Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "lease not released: the next waits"),
            Err(_) => warn!("lease not released in time: the next waits"),
        }
    }

    async fn attempt(&mut self, silence: &mut Option<Silence>) -> Result<bool, kube::Error> {
        let found = self.api.get_opt(&self.name).await?;
        // Only now: a silence that began while we asked would be longer than it was.
        let now = Instant::now();
        let written = match found {
            None => self.create().await,
            Some(lease) => match claim(&lease, &self.identity, silence, now) {
                Claim::Taken => return Ok(false),
                Claim::Ours | Claim::Free => self.write(taken(lease, &self.identity)).await,
            },
        };
        match written {
            Ok(lease) => {
                self.held = Some(lease);
                self.renewed = now;
                Ok(true)
            }
            // Another candidate was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn renew(&mut self) -> Result<bool, kube::Error> {
        self.update(|spec| spec.renew_time = Some(MicroTime(Timestamp::now()))).await
    }

    /// Writes the lease with `change`; `false`: it is not ours any more.
    async fn update(&mut self, change: impl Fn(&mut LeaseSpec)) -> Result<bool, kube::Error> {
        let Some(lease) = self.held.clone() else { return Ok(false) };
        match self.update_from(lease, &change).await {
            // Our version is old: the answer to a renewal was lost (or is not waited for any more, when the process
            // stops), somebody edited the Lease, or somebody took it.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            written => return written.map(|()| true),
        }
        let lease = self.api.get_opt(&self.name).await?;
        let Some(lease) = lease.filter(|lease| holder(lease) == Some(&self.identity)) else { return Ok(false) };
        // That it is ours is no renewal: the one whose answer was lost may be long ago.
        self.update_from(lease, &change).await.map(|()| true)
    }

    async fn update_from(&mut self, mut lease: Lease, change: impl Fn(&mut LeaseSpec)) -> Result<(), kube::Error> {
        change(lease.spec.get_or_insert_default());
        let sent = Instant::now();
        self.held = Some(self.write(lease).await?);
        self.renewed = sent;
        Ok(())
    }

    async fn create(&self) -> Result<Lease, kube::Error> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = taken(Lease { metadata, spec: None }, &self.identity);
        self.api.create(&params(), &lease).await
    }

    async fn write(&self, lease: Lease) -> Result<Lease, kube::Error> {
        // A replace carries the resource version that was read: it fails when somebody else wrote in between.
        self.api.replace(&self.name, &params(), &lease).await
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
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    /// A lease that is held, in front of an API server that answers the requests that it expects, each after so many
    /// milliseconds and with that status. All others are never answered.
    fn held(answers: &'static [(Method, u64, u16)]) -> Election {
        held_and_written(answers).0
    }

    /// The same, and the holders that it was told to write.
    fn held_and_written(answers: &'static [(Method, u64, u16)]) -> (Election, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(answers.iter()));
        let written = Arc::new(Mutex::new(Vec::new()));
        let writes = Arc::clone(&written);
        let service = service_fn(move |request: Request<Body>| {
            let answer = asked.lock().unwrap().next();
            let writes = Arc::clone(&writes);
            async move {
                let Some((method, delay, status)) = answer else { return std::future::pending().await };
                assert_eq!(request.method(), method);
                assert!(request.uri().path().ends_with("/leases/lease"), "{}", request.uri());
                if request.method() == Method::PUT {
                    let body = request.into_body().collect_bytes().await.unwrap();
                    let lease: Lease = serde_json::from_slice(&body).unwrap();
                    writes.lock().unwrap().push(holder(&lease).unwrap_or_default().to_owned());
                }
                sleep(Duration::from_millis(*delay)).await;
                let refusal = serde_json::json!({"status": "Failure", "code": status, "message": "", "reason": ""});
                let body = if *status == 200 { serde_json::to_value(lease("me", "2")).unwrap() } else { refusal };
                let answer = Response::builder().status(*status).body(Body::from(body.to_string().into_bytes()));
                Ok::<_, tower::BoxError>(answer.unwrap())
            }
        });
        let election = Election::new(Client::new(service, "default"), "default", "lease".to_owned(), "me".to_owned());
        (Election { held: Some(lease("me", "1")), ..election }, written)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_given_back_though_a_renewal_is_under_way() {
        // Nobody waits for the answer of the last renewal when the process stops, and it has arrived.
        let answers =
            &[(Method::PUT, 60_000, 200), (Method::PUT, 0, 409), (Method::GET, 0, 200), (Method::PUT, 0, 200)];
        let (mut election, written) = held_and_written(answers);
        assert!(timeout(Duration::from_secs(3), election.hold()).await.is_err(), "it stops while it renews");
        election.release().await;
        assert_eq!(*written.lock().unwrap(), ["me", "", ""]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_stops_before_others_take_over() {
        // Sent after two seconds, answered after nearly four more, and never again.
        let (start, mut election) = (Instant::now(), held(&[(Method::PUT, 3900, 200)]));
        election.hold().await;
        assert_eq!(start.elapsed().as_secs(), 12, "ten seconds after the last renewal was sent");
    }

    #[tokio::test(start_paused = true)]
    async fn to_find_that_it_is_still_ours_is_no_renewal() {
        // The first renewal may have arrived, its answer did not: others count from then.
        let answers = &[(Method::PUT, 60_000, 200), (Method::PUT, 0, 409), (Method::GET, 0, 200)];
        let (start, mut election) = (Instant::now(), held(answers));
        election.hold().await;
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_silence_of_another_begins_when_it_was_seen() {
        // Taken three seconds after the question: a renewal may have come just before.
        let (start, mut silence) = (Instant::now(), None);
        let mut election = held(&[(Method::GET, 3000, 200)]);
        election.identity = "other".to_owned();
        assert!(!election.attempt(&mut silence).await.unwrap());
        assert_eq!(silence.map(|silence| silence.since - start), Some(Duration::from_secs(3)));
    }

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
