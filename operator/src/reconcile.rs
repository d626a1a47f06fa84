//! One server, brought to its spec: resolve → desired → apply → observe → report.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use mcp_crds::McpServer;
use rand::Rng;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::apply::rotation::Rotation;
use crate::apply::{self, Pods};
use crate::cache::{Index, Key, Server, Unreadable};
use crate::context::Context;
use crate::desired::endpoint::{self, Backend};
use crate::desired::{Children, Identity, desired, keys};
use crate::error::{Error, Retry};
use crate::exposure;
use crate::kind::Kind;
use crate::resolve::{Resolution, authorities, environment, resolve};
use crate::settings::SecretAccess;
use crate::status::{self, Observed, Outcome};
use crate::upgrade::Upgrades;
use crate::verify::Target;

/// What the queue knows of a server: its name. The object itself is in the cache.
pub type Handle = PartialObjectMeta<McpServer>;

/// A reconcile without a reason: watches wake us, this is the safety net. It asks nobody when nothing has changed.
const SAFETY_NET: Duration = Duration::from_secs(600);

/// Brings one server to its spec and says how far it came.
///
/// # Errors
/// Why it did not reach its end. The status says so already.
pub async fn reconcile(handle: Arc<Handle>, ctx: Arc<Context>) -> Result<Action, Error> {
    let metadata = &handle.metadata;
    let key = Key::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
    let Some((server, readable)) = ctx.cache.servers.get(&key).map(|entry| object(&entry)) else {
        return Ok(Action::await_change());
    };
    if server.metadata.deletion_timestamp.is_some() {
        // The garbage collector takes the children by their owner references.
        ctx.stop_asking(&key);
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let planned = match readable {
        Ok(()) => timeout(ctx.deadline, plan(&server, &key, &ctx)).await.unwrap_or(Err(Error::Deadline(ctx.deadline))),
        Err(unreadable) => Err(unreadable),
    };
    let (plan, outcome) = match planned {
        Ok(plan) => {
            let outcome = timeout(ctx.deadline, act(&server, &plan, &ctx)).await;
            (Some(plan), outcome.unwrap_or(Outcome::Failed(Error::Deadline(ctx.deadline))))
        }
        Err(error) => (None, Outcome::Failed(error)),
    };
    let seen = observe(&server, &key, plan.as_ref(), &ctx);
    let reported = timeout(ctx.deadline, report(&server, &key, &outcome, &seen, &ctx)).await;
    let reported = reported.unwrap_or(Err(Error::Deadline(ctx.deadline)));
    let result = match outcome {
        Outcome::Failed(error) if error.retry() == Retry::Backoff => Err(error),
        // What waits for a watch must have been said: a status that could not be written is tried again soon.
        Outcome::Failed(error) => reported.and(Err(error)),
        Outcome::Programmed | Outcome::Suspended { .. } => reported,
    };
    if ctx.cache.servers.get(&key).is_none() {
        // It went meanwhile: what was just remembered of it would stay for ever.
        ctx.forget(&key);
        return Ok(Action::await_change());
    }
    ctx.metrics.reconciled(result.as_ref().err().map(Error::reason), started.elapsed());
    let due = result?;
    ctx.memory.with(&key, crate::memory::Remembered::succeeded);
    if let Some(pause) = due {
        return Ok(Action::requeue(pause));
    }
    let safety_net = SAFETY_NET.mul_f64(rand::rng().random_range(0.8..1.2));
    let next_keys = seen.rotation.as_ref().and_then(Rotation::ends).map(until);
    Ok(Action::requeue(next_keys.map_or(safety_net, |next| next.min(safety_net))))
}

/// A little later than that, so that it has come.
fn until(time: Timestamp) -> Duration {
    let left = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
    left + Duration::from_secs(1)
}

/// What is wanted, from the spec and what it refers to.
struct Plan {
    id: Identity,
    resolution: Resolution,
    children: Children,
    /// By which the certificate of the pods is checked.
    authorities: Option<Arc<str>>,
}

fn object(entry: &Server) -> (Arc<McpServer>, Result<(), Error>) {
    match &entry.object {
        Ok(server) => (Arc::clone(server), Ok(())),
        Err(Unreadable { metadata, status, error }) => {
            let mut server = McpServer::new("", mcp_crds::McpServerSpec::default());
            server.metadata = metadata.clone();
            server.status.clone_from(status);
            (Arc::new(server), Err(Error::Unreadable(crate::text::clean(error))))
        }
    }
}

async fn plan(server: &McpServer, key: &Key, ctx: &Context) -> Result<Plan, Error> {
    let id = Identity::of(server)?;
    let mut resolution = resolve(server, key, &ctx.cache, &ctx.scope)?;
    // The keys of a suspended server are not made either.
    let has_keys = ctx.cache.children(Kind::Secret).get(&keys_of(&id)).is_some();
    let may_read = !server.spec.suspend || has_keys || ctx.settings.secret_access == SecretAccess::None;
    if resolution.missing.is_empty() && may_read {
        resolution.resolved.env_digest = environment::digest(server, &id, ctx).await?;
    }
    let deployment = ctx.cache.children(Kind::Deployment).get(key);
    let deployment = deployment.as_deref().filter(|child| child.belongs_to(&id.uid));
    resolution.resolved.turn = if resolution.missing.is_empty() && !server.spec.suspend {
        ctx.upgrades.turn(server, key, deployment)
    } else {
        // Nothing is written now: it would take a place and do nothing with it.
        Upgrades::stay(deployment)
    };
    let children = desired(server, &resolution.resolved, &ctx.settings)?;
    let authorities = authorities::read_bundle(server, &id, ctx).await?;
    Ok(Plan { id, resolution, children, authorities })
}

fn keys_of(id: &Identity) -> Key {
    Key::new(&id.namespace, id.keys_name())
}

async fn act(server: &McpServer, plan: &Plan, ctx: &Context) -> Outcome {
    let Plan { id, resolution, children, .. } = plan;
    // Nothing is written while something is missing: pods that run keep what they have.
    if let Err(missing) = resolution.complete() {
        return Outcome::Failed(missing);
    }
    if server.spec.suspend {
        return Outcome::Suspended { converged: apply::is_converged(children, id, ctx) };
    }
    let waits = resolution.resolved.turn.waits.is_some();
    // While it waits for a new runtime, what a new operator renders otherwise waits too. What the user wants does not.
    let pods = if waits && is_programmed(server) { Pods::Keep } else { Pods::Replace };
    apply::apply(children, id, pods, ctx).await.map_or_else(Outcome::Failed, |()| Outcome::Programmed)
}

/// Whether this very spec was written before.
fn is_programmed(server: &McpServer) -> bool {
    let programmed = status::find(status::conditions(server), status::Type::Programmed);
    programmed.is_some_and(|condition| {
        condition.status == "True" && condition.observed_generation == server.metadata.generation
    })
}

/// What the cluster says, from the cache, and what the server itself says, from the verifier. As much of it as possible
/// is known without a plan: an API server that does not answer for a moment must not change what is said.
fn observe(server: &McpServer, key: &Key, plan: Option<&Plan>, ctx: &Context) -> Observed {
    let uid = server.metadata.uid.as_deref().unwrap_or_default();
    let child = |kind: Kind| ctx.cache.children(kind).get(key).filter(|child| child.belongs_to(uid));
    let mut pods = ctx.cache.pods.find(&Index::Server(key.clone()));
    pods.retain(|pod| pod.part.server_uid.as_deref() == Some(uid) && !pod.migrates);
    let id = Identity::of(server).ok();
    let resolution = match plan {
        Some(plan) => Cow::Borrowed(&plan.resolution),
        None => Cow::Owned(resolve(server, key, &ctx.cache, &ctx.scope).unwrap_or_default()),
    };
    let target = plan.map(|plan| {
        let Plan { id, children, authorities, .. } = plan;
        Target::of(server, id, children, &ctx.settings, &ctx.cache, authorities.clone())
    });
    Observed {
        deployment: child(Kind::Deployment),
        autoscaler: child(Kind::HorizontalPodAutoscaler),
        ingress: child(Kind::Ingress),
        http_route: child(Kind::HttpRoute),
        pods,
        pending_certificate: resolution.pending_certificate.clone(),
        shared_hosts: resolution.resolved.shared_hosts.clone(),
        pending_pod_certificate: resolution.pending_pod_certificate.clone(),
        missing_inner_tls: exposure::missing_inner_tls(&server.spec, resolution.resolved.ingress_controller.as_deref()),
        missing_affinity: exposure::missing_affinity(&server.spec, resolution.resolved.ingress_controller.as_deref()),
        findings: target.as_ref().and_then(|target| ctx.verifier.as_ref()?.observe(target)),
        target,
        rotation: id.as_ref().and_then(|id| rotation(id, ctx)),
        waits: resolution.resolved.turn.waits,
        probes_off: ctx.verifier.is_none(),
        rotation_refused: ctx.settings.secret_access == SecretAccess::None && keys::request(server).is_some(),
        address: id.as_ref().map(|id| endpoint::address(id, &server.spec, &ctx.settings)),
        selector: id.as_ref().map(Identity::selector_text),
        backend: Backend::of(&server.spec).ok().map(|backend| backend.kind().to_owned()),
    }
}

fn rotation(id: &Identity, ctx: &Context) -> Option<Rotation> {
    let keys = ctx.cache.children(Kind::Secret).get(&keys_of(id)).filter(|keys| keys.belongs_to(&id.uid))?;
    Rotation::read(keys.intent.as_deref()?)
}

/// What is said, or how long to wait until it is.
async fn report(
    server: &McpServer,
    key: &Key,
    outcome: &Outcome,
    seen: &Observed,
    ctx: &Context,
) -> Result<Option<Duration>, Error> {
    let earlier = status::current(server, key, ctx);
    let now = status::status(server, outcome, seen, &earlier, Timestamp::now());
    ctx.upgrades.observe(key, seen.deployment.as_deref(), &now);
    let patience = status::patience(outcome, seen, &earlier, &now);
    status::report(server, key, &earlier, now, patience, ctx).await
}

/// When to try again after an error.
#[expect(clippy::needless_pass_by_value, reason = "the signature is that of kube's controller")]
pub fn error_policy(handle: Arc<Handle>, error: &Error, ctx: Arc<Context>) -> Action {
    let metadata = &handle.metadata;
    let key = Key::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
    let reason = error.reason();
    if ctx.cache.servers.get(&key).is_none() {
        return Action::await_change();
    }
    match error.retry() {
        Retry::After(pause) => {
            debug!(server = %key, reason = reason.as_str(), error = error.message(), "waits");
            Action::requeue(pause)
        }
        Retry::Backoff => {
            let pause = ctx.memory.with(&key, crate::memory::Remembered::failed);
            let (seconds, reason) = (pause.as_secs(), reason.as_str());
            warn!(server = %key, reason, error = error.message(), seconds, "failed, trying again");
            Action::requeue(pause)
        }
    }
}
