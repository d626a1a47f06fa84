//! What is said of a server: conditions, address, counts. Pure; `report` writes it.
//!
//! ```text
//! Outcome (how far the reconcile came) ┐
//! Observed (what the cluster says)     ├─▶ McpServerStatus ─▶ report: written only when it differs
//! the status of before                 ┘
//! ```

mod accepted;
mod account;
mod available;
mod condition;
mod exposed;
mod patience;
mod reason;
mod report;
mod unreadable;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use mcp_crds::{Address, McpServer, McpServerStatus};

use accepted::accepted;
pub use available::Stage;
pub use condition::{Truth, Type, Verdict, conditions, find};
pub use exposed::Route;
pub use patience::patience;
pub use reason::{Reason, documentation};
pub use report::{current, report};

use crate::apply::rotation::Rotation;
use crate::cache::{Child, PodView};
use crate::error::Error;
use crate::verify::{Findings, Judgement, Target, judge};

/// How far a reconcile came.
#[derive(Debug)]
pub enum Outcome {
    /// Every child is written.
    Programmed,
    /// `spec.suspend`; whether the children are as they should be.
    Suspended {
        /// They are.
        converged: bool,
    },
    /// It ended early.
    Failed(Error),
}

/// What the cluster, and the server itself, say.
#[derive(Debug, Default)]
pub struct Observed {
    /// The Deployment, when it is ours.
    pub deployment: Option<Arc<Child>>,
    /// The HorizontalPodAutoscaler, when it is ours.
    pub autoscaler: Option<Arc<Child>>,
    /// The Ingress, when it is ours.
    pub ingress: Option<Arc<Child>>,
    /// The HTTPRoute, when it is ours.
    pub http_route: Option<Arc<Child>>,
    /// The pods.
    pub pods: Vec<Arc<PodView>>,
    /// The Secret that cert-manager has not made yet.
    pub pending_certificate: Option<String>,
    /// Hosts that other servers have too.
    pub shared_hosts: BTreeSet<String>,
    /// The Secret of the pods' own certificate that cert-manager has not made yet.
    pub pending_pod_certificate: Option<String>,
    /// Why clients do not stay at one pod although the spec wants it.
    pub missing_affinity: Option<String>,
    /// Why the route may not reach pods that have TLS, and whether it certainly does not.
    pub missing_inner_tls: Option<(bool, String)>,
    /// Whom to ask; `None` while that is not known.
    pub target: Option<Target>,
    /// What was asked; `None` when it has not been.
    pub findings: Option<Arc<Findings>>,
    /// How far the generated keys are made anew.
    pub rotation: Option<Rotation>,
    /// It waits for a changed image of the runtime: why.
    pub waits: Option<&'static str>,
    /// Servers are not asked: `--probe-via=none`.
    pub probes_off: bool,
    /// New keys are asked for and the operator may not make any.
    pub rotation_refused: bool,
    /// What a client types. `None` while that cannot be known: then the earlier one counts.
    pub address: Option<String>,
    /// Label selector of the pods; the same.
    pub selector: Option<String>,
    /// Member of `spec.backend`.
    pub backend: Option<String>,
}

struct Verdicts {
    accepted: Verdict,
    programmed: Verdict,
    available: Verdict,
    exposed: Verdict,
    verified: Verdict,
}

/// The status of a server.
#[must_use]
pub fn status(
    server: &McpServer,
    outcome: &Outcome,
    seen: &Observed,
    earlier: &McpServerStatus,
    now: Timestamp,
) -> McpServerStatus {
    if let Outcome::Failed(error @ Error::Unreadable(_)) = outcome {
        return unreadable::status(server, error, earlier, now);
    }
    let generation = server.metadata.generation;
    let verdicts = verdicts(server, outcome, seen, earlier, now);
    let address = address(&verdicts.verified, seen, earlier);
    let ready = ready(&verdicts, address.as_ref());
    let rollout = seen.deployment.as_deref().and_then(Child::rollout);
    // Until the Deployment's controller has seen what we wrote, nothing new is known of the pods. Conditions that keep
    // their old generation say so, and `kubectl wait` understands it.
    let unseen = seen.deployment.as_deref().is_some_and(|deployment| {
        deployment.rollout().is_some_and(|rollout| rollout.observed_generation < deployment.generation)
    });
    let condition = |kind: Type, verdict: &Verdict| {
        let of_pods = matches!(kind, Type::Available | Type::Verified | Type::Ready);
        match find(&earlier.conditions, kind) {
            Some(before) if unseen && of_pods && verdicts.programmed.holds() => before.clone(),
            _ => verdict.condition(kind, &earlier.conditions, generation, now),
        }
    };
    let mut conditions = vec![
        condition(Type::Accepted, &verdicts.accepted),
        condition(Type::Programmed, &verdicts.programmed),
        condition(Type::Available, &verdicts.available),
        condition(Type::Exposed, &verdicts.exposed),
        condition(Type::Verified, &verdicts.verified),
        condition(Type::Ready, &ready),
    ];
    let stuck = rollout.is_some_and(|rollout| rollout.stuck);
    conditions.extend(
        progress(outcome, &verdicts, &ready, unseen, stuck)
            .map(|(kind, verdict)| verdict.condition(kind, &earlier.conditions, generation, now)),
    );
    let report = seen.findings.as_deref().and_then(Findings::report);
    McpServerStatus {
        observed_generation: generation,
        address,
        backend: seen.backend.clone(),
        server: report.map_or_else(|| earlier.server.clone(), |report| Some(account::server_info(report))),
        tools: report.map_or_else(|| earlier.tools.clone(), account::tools_info),
        replicas: rollout.map_or(0, |rollout| rollout.replicas),
        ready_replicas: rollout.map_or(0, |rollout| rollout.ready),
        keys: match (&seen.rotation, &seen.target) {
            // Nothing is known without a plan.
            (None, None) => earlier.keys.clone(),
            (rotation, _) => rotation.as_ref().and_then(account::keys_status),
        },
        selector: seen.selector.clone().or_else(|| earlier.selector.clone()),
        conditions,
    }
}

fn verdicts(
    server: &McpServer,
    outcome: &Outcome,
    seen: &Observed,
    earlier: &McpServerStatus,
    now: Timestamp,
) -> Verdicts {
    let (accepted, programmed) = written(server, outcome, seen);
    let failure = available::failure(seen.pods.iter().map(AsRef::as_ref));
    let deployment = seen.deployment.as_deref();
    let wanted = wanted(server, outcome, deployment);
    let held = find(&earlier.conditions, Type::Available)
        .is_some_and(|condition| condition.status == "True" && condition.reason != Reason::ScaledToZero.as_str());
    let available = available::verdict(deployment, wanted, failure, seen.findings.as_deref(), held);
    let available = told_by_pods(available, server, seen, &earlier.conditions);
    let available = waits_for_certificate(available, seen);
    let available = available::autoscaled(available, seen.autoscaler.as_deref());
    let stage = available::stage(deployment, wanted, failure);
    let route = Route {
        ingress: seen.ingress.as_deref(),
        http_route: seen.http_route.as_deref(),
        pending_certificate: seen.pending_certificate.as_deref(),
        shared_hosts: &seen.shared_hosts,
        missing_affinity: seen.missing_affinity.as_deref(),
        missing_inner_tls: seen.missing_inner_tls.as_ref(),
    };
    Verdicts {
        exposed: exposed::verdict(&server.spec, route),
        verified: verified(server, outcome, seen, stage, &available, earlier, now),
        accepted,
        programmed,
        available,
    }
}

/// How many pods there should be. Until the spec is written those of before count: nobody has told them to go.
fn wanted(server: &McpServer, outcome: &Outcome, deployment: Option<&Child>) -> i32 {
    let rollout = deployment.and_then(Child::rollout);
    let before = deployment.map_or(1, |deployment| deployment.rollout().map_or(0, |rollout| rollout.replicas));
    // An autoscaler's number is in the Deployment only.
    let wanted = match &server.spec.autoscaling {
        Some(_) => rollout.map_or(1, |rollout| rollout.wanted),
        None => server.spec.replicas,
    };
    match outcome {
        Outcome::Programmed | Outcome::Suspended { converged: true } => wanted,
        Outcome::Suspended { converged: false } | Outcome::Failed(_) => wanted.max(before),
    }
}

/// Why pods are not ready may be known from the pods only, which a restarted operator has not asked yet.
fn told_by_pods(verdict: Verdict, server: &McpServer, seen: &Observed, earlier: &[Condition]) -> Verdict {
    if verdict.reason != Reason::Starting || seen.findings.is_some() {
        return verdict;
    }
    let before = find(earlier, Type::Available)
        .filter(|condition| condition.observed_generation == server.metadata.generation)
        .and_then(Verdict::of)
        .filter(|before| matches!(before.reason, Reason::IssuerUnreachable | Reason::HandshakeFailed));
    before.unwrap_or(verdict)
}

/// The kubelet says nothing of a volume whose Secret is not there.
fn waits_for_certificate(verdict: Verdict, seen: &Observed) -> Verdict {
    match &seen.pending_pod_certificate {
        Some(secret) if verdict.reason == Reason::Starting => Verdict::no(
            Reason::CertificatePending,
            format!("{}: Secret {secret}, which they mount, is not there yet", verdict.message),
        ),
        _ => verdict,
    }
}

fn written(server: &McpServer, outcome: &Outcome, seen: &Observed) -> (Verdict, Verdict) {
    match outcome {
        Outcome::Programmed => {
            let programmed = match seen.waits {
                None => Verdict::yes(Reason::Programmed, "every object is written"),
                Some(why) => Verdict::yes(Reason::UpgradePending, format!("keeps its image of the runtime: {why}")),
            };
            (accepted(server, seen), programmed)
        }
        Outcome::Suspended { converged: true } => {
            (accepted(server, seen), Verdict::yes(Reason::Suspended, "suspended; the objects are as the spec says"))
        }
        Outcome::Suspended { converged: false } => {
            (accepted(server, seen), Verdict::no(Reason::Suspended, "suspended; the objects differ from the spec"))
        }
        Outcome::Failed(error) if error.refuses_spec() => (
            Verdict::no(error.reason(), error.message()),
            Verdict::unknown(Reason::NotAccepted, "waits until the spec is accepted"),
        ),
        Outcome::Failed(error) => (accepted(server, seen), Verdict::no(error.reason(), error.message())),
    }
}

fn verified(
    server: &McpServer,
    outcome: &Outcome,
    seen: &Observed,
    stage: Stage,
    available: &Verdict,
    earlier: &McpServerStatus,
    now: Timestamp,
) -> Verdict {
    let earlier = &earlier.conditions;
    if stage == Stage::Zero {
        return Verdict::yes(Reason::ScaledToZero, "replicas is 0");
    }
    if seen.probes_off {
        return Verdict::unknown(Reason::NotProbed, "the operator was told not to ask servers");
    }
    let Some(target) = &seen.target else {
        let otherwise = match outcome {
            Outcome::Failed(error) if error.refuses_spec() => {
                Verdict::unknown(Reason::NotAccepted, "waits until the spec is accepted")
            }
            _ => Verdict::unknown(Reason::NotAsked, "waits until the objects are written"),
        };
        return keep(earlier, server, false, otherwise);
    };
    let verdict = match judge(target, seen.findings.as_deref(), now) {
        Judgement::Say(verdict) => verdict,
        Judgement::Keep(otherwise) => {
            let asked = seen.findings.as_ref().is_some_and(|findings| findings.is_answered(target));
            keep(earlier, server, asked, otherwise)
        }
    };
    match stage {
        // What was verified is the old version. What is wrong with it is said all the same.
        Stage::Rolling | Stage::Blocked if verdict.truth != Truth::False => {
            Verdict { truth: Truth::Unknown, ..available.clone() }.or_starting()
        }
        _ => verdict,
    }
}

impl Verdict {
    /// A first roll-out has no old version to speak of.
    fn or_starting(self) -> Self {
        match self.reason {
            Reason::RollingOut | Reason::RolloutStalled => self,
            _ => Self::unknown(Reason::RollingOut, "a new version is rolling out"),
        }
    }
}

/// What was said before, unless it speaks of another configuration: a restarted operator has asked nobody yet, and must
/// not say that it knows nothing. What certainly does not hold any more is not kept.
fn keep(earlier: &[Condition], server: &McpServer, asked: bool, otherwise: Verdict) -> Verdict {
    let before = find(earlier, Type::Verified)
        .filter(|condition| asked || condition.observed_generation == server.metadata.generation);
    let before = before.and_then(Verdict::of).filter(|before| !(before.holds() && otherwise.truth == Truth::False));
    before.unwrap_or(otherwise)
}

fn ready(verdicts: &Verdicts, address: Option<&Address>) -> Verdict {
    let Verdicts { accepted, programmed, available, exposed, verified } = verdicts;
    let all = [accepted, programmed, available, exposed, verified];
    let counted = || all.into_iter().filter(|verdict| verdict.reason != Reason::NotProbed);
    let short = counted()
        .find(|verdict| verdict.truth == Truth::False)
        .or_else(|| counted().find(|verdict| verdict.truth == Truth::Unknown));
    match short {
        Some(verdict) => verdict.clone(),
        None if available.reason == Reason::ScaledToZero => Verdict::yes(Reason::ScaledToZero, "replicas is 0"),
        None => {
            let url = address.map(|address| address.url.as_str()).unwrap_or_default();
            Verdict::yes(Reason::Ready, format!("serves at {url}"))
        }
    }
}

fn progress(
    outcome: &Outcome,
    verdicts: &Verdicts,
    ready: &Verdict,
    unseen: bool,
    stuck: bool,
) -> Option<(Type, Verdict)> {
    if matches!(outcome, Outcome::Suspended { .. }) {
        return None;
    }
    if ready.holds() {
        let working = Verdict::yes(Reason::RollingOut, "the Deployment's controller has not seen the change yet");
        return unseen.then_some((Type::Reconciling, working));
    }
    let Verdicts { accepted, programmed, available, exposed, verified } = verdicts;
    let all = [accepted, programmed, available, exposed, verified];
    let stalled = all.into_iter().find(|verdict| !verdict.holds() && verdict.reason.stalls());
    let stalled = stalled.or_else(|| Some(ready).filter(|_| stuck));
    let (kind, verdict) = match stalled {
        Some(verdict) => (Type::Stalled, verdict),
        None => (Type::Reconciling, ready),
    };
    Some((kind, Verdict { truth: Truth::True, ..verdict.clone() }))
}

/// Published while verified. While it is being verified anew the earlier one stays, unless the server has moved: clients
/// are still served.
fn address(verified: &Verdict, seen: &Observed, earlier: &McpServerStatus) -> Option<Address> {
    let current = seen.address.clone().map(|url| Address { url }).or_else(|| earlier.address.clone());
    match (verified.truth, verified.reason) {
        (Truth::True, _) | (_, Reason::NotProbed) => current,
        (Truth::Unknown, Reason::Unreachable) | (Truth::False, _) => None,
        (Truth::Unknown, _) => current.filter(|current| earlier.address.as_ref() == Some(current)),
    }
}
