//! `Available`: whether pods serve, and if not, why. Pure.

use crate::cache::{Child, ChildStatus, FailureKind, PodFailure, PodView, Rollout};
use crate::status::{Reason, Verdict};
use crate::verify::{Findings, Trouble};

/// Where the pods of a server are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No pods are wanted.
    Zero,
    /// There is no Deployment.
    None,
    /// A new version is on its way.
    Rolling,
    /// A new version is on its way and does not get anywhere.
    Blocked,
    /// All pods have the newest version.
    Settled,
}

/// How far the Deployment is with its newest template.
#[must_use]
pub fn stage(deployment: Option<&Child>, wanted: i32, failure: Option<&PodFailure>) -> Stage {
    if wanted == 0 {
        return Stage::Zero;
    }
    let Some((deployment, rollout)) = deployment.and_then(|child| Some((child, child.rollout()?))) else {
        return Stage::None;
    };
    let old_pods = rollout.replicas > rollout.updated;
    let unseen = rollout.observed_generation < deployment.generation;
    match (old_pods || unseen || rollout.updated == 0, failure.is_some() || rollout.stuck || rollout.refused.is_some())
    {
        (true, true) if !unseen => Stage::Blocked,
        (true, _) => Stage::Rolling,
        (false, _) => Stage::Settled,
    }
}

/// The failure that tells most among the pods.
#[must_use]
pub fn failure<'a>(pods: impl Iterator<Item = &'a PodView>) -> Option<&'a PodFailure> {
    pods.filter(|pod| !pod.deleting).filter_map(|pod| pod.failure.as_ref()).min_by_key(|failure| failure.kind)
}

/// `held`: it was available before, so a pod less does not take that away.
#[must_use]
pub fn verdict(
    deployment: Option<&Child>,
    wanted: i32,
    failure: Option<&PodFailure>,
    findings: Option<&Findings>,
    held: bool,
) -> Verdict {
    let rollout = deployment.and_then(Child::rollout);
    let (ready, why) = (rollout.map_or(0, |rollout| rollout.ready), trouble(rollout, failure, findings));
    let said = |ready: String| why.as_ref().map_or_else(|| ready.clone(), |(_, why)| format!("{ready}: {why}"));
    match stage(deployment, wanted, failure) {
        Stage::Zero => Verdict::yes(Reason::ScaledToZero, "replicas is 0"),
        Stage::None => Verdict::no(Reason::NotCreated, "there is no Deployment yet"),
        Stage::Rolling if ready > 0 && held => {
            Verdict::yes(Reason::RollingOut, format!("{} while a new version rolls out", pods(ready, wanted)))
        }
        Stage::Blocked if ready > 0 && held => Verdict::yes(
            Reason::RolloutStalled,
            said(format!("{}; the new version does not start", pods(ready, wanted))),
        ),
        Stage::Settled if ready >= wanted => Verdict::yes(Reason::Available, pods(ready, wanted)),
        Stage::Settled if ready > 0 && held => Verdict::yes(Reason::Degraded, said(pods(ready, wanted))),
        Stage::Rolling | Stage::Blocked | Stage::Settled => {
            let reason = why.as_ref().map_or(Reason::Starting, |(reason, _)| *reason);
            Verdict::no(reason, said(pods(ready, wanted)))
        }
    }
}

/// Pods that are all well and an autoscaler that does not scale them: clients are served, and the next rush will not be.
#[must_use]
pub fn autoscaled(verdict: Verdict, autoscaler: Option<&Child>) -> Verdict {
    let why = match autoscaler.map(|autoscaler| &autoscaler.status) {
        Some(ChildStatus::Autoscaler(Some(why))) if verdict.reason == Reason::Available => crate::text::clean(why),
        _ => return verdict,
    };
    Verdict::yes(Reason::AutoscalerFailing, format!("{}; the autoscaler does not scale: {why}", verdict.message))
}

fn pods(ready: i32, wanted: i32) -> String {
    if wanted == 1 { format!("{ready} of 1 pod is ready") } else { format!("{ready} of {wanted} pods are ready") }
}

/// Why pods are not ready, from the most telling source: Kubernetes' own account, then the runtime's.
fn trouble(
    rollout: Option<&Rollout>,
    failure: Option<&PodFailure>,
    findings: Option<&Findings>,
) -> Option<(Reason, String)> {
    if let Some(failure) = failure {
        return Some((reason_of(failure.kind), failure.message.clone()));
    }
    if let Some(refused) = rollout.and_then(|rollout| rollout.refused.as_deref()) {
        return Some((Reason::PodsRefused, crate::text::clean(refused)));
    }
    match findings.and_then(Findings::trouble_of_unready)? {
        Trouble::Issuer(message) => Some((Reason::IssuerUnreachable, message)),
        Trouble::Backend(message) => Some((Reason::HandshakeFailed, message)),
    }
}

fn reason_of(kind: FailureKind) -> Reason {
    match kind {
        FailureKind::ImagePull => Reason::ImagePullFailed,
        FailureKind::Configuration => Reason::ContainerInvalid,
        FailureKind::OutOfMemory => Reason::OutOfMemory,
        FailureKind::Crash => Reason::Crashing,
        FailureKind::Unschedulable => Reason::Unschedulable,
    }
}
