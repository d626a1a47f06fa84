//! Deployment `<name>`: the pods.
//!
//! The runtime is the pod's main container: it starts last, gets SIGTERM first, drains, exits; only then does the
//! backend stop. A user's container is a native sidecar, so that the two never share files, environment or memory.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, HTTPGetAction, PodAffinityTerm, PodAntiAffinity, PodSpec, PodTemplateSpec,
    Probe, TopologySpreadConstraint, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_crds::{McpServerSpec, PullPolicy, Strategy};

use super::endpoint::{Backend, MANAGEMENT, MCP, Ports};
use super::migrations::MIGRATED;
use super::{Identity, Invalid, Resolved, backend, boot_config, convert, hardening, mounts, service_account};
use crate::settings::Settings;
use crate::upgrade::BEFORE;

/// Name of the runtime's container.
pub const RUNTIME: &str = "mcp-server";
/// Digest of the Secrets and ConfigMaps in the backend's environment: a process sees them only when it starts.
pub const ENV_DIGEST: &str = "mcp-operator.dev/env-digest";
/// Of which versions the digest was made. At the Deployment, not at the pods: they do not roll for it.
pub const ENV_VERSIONS: &str = "mcp-operator.dev/env-versions";

/// Old ReplicaSets kept for `kubectl rollout undo`, each with its boot ConfigMap.
const HISTORY: i32 = 3;

/// Seconds after drain and its grace that runtime and backend have to exit.
const EXIT_MARGIN_SECONDS: i32 = 15;

/// The Deployment whose pods run with the boot file `boot_config`, after the migrations with the hash `migrated`.
///
/// # Errors
/// When the backend cannot be made a container.
pub fn build(
    id: &Identity,
    spec: &McpServerSpec,
    refs: &Resolved,
    settings: &Settings,
    boot_config: &str,
    migrated: Option<&str>,
) -> Result<Deployment, Invalid> {
    let before = refs.turn.before.as_ref().filter(|_| spec.runtime.image.is_none());
    let before = before.map(|image| (BEFORE.to_owned(), image.clone()));
    let migrated = migrated.map(|hash| (MIGRATED.to_owned(), hash.to_owned()));
    let environment = refs.env_digest.as_ref().map(|env| (ENV_VERSIONS.to_owned(), env.versions.clone()));
    let annotations: BTreeMap<_, _> = before.into_iter().chain(migrated).chain(environment).collect();
    let annotations = (!annotations.is_empty()).then_some(annotations);
    Ok(Deployment {
        metadata: ObjectMeta { annotations, ..id.meta(&id.name) },
        spec: Some(DeploymentSpec {
            // An autoscaler's from then on: see `apply::handover`.
            replicas: spec.autoscaling.is_none().then_some(spec.replicas),
            selector: id.selector(),
            strategy: Some(strategy(spec, refs)),
            revision_history_limit: Some(HISTORY),
            template: PodTemplateSpec {
                metadata: Some(template_meta(id, spec, refs)),
                spec: Some(pod(id, spec, refs, settings, boot_config)?),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    })
}

fn strategy(spec: &McpServerSpec, refs: &Resolved) -> DeploymentStrategy {
    let recreate = match spec.strategy {
        Strategy::Auto => writes_to_a_claim(spec, refs),
        Strategy::RollingUpdate => false,
        Strategy::Recreate => true,
    };
    if recreate {
        return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    }
    // No pod goes before another is ready in its place.
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::String("25%".to_owned())),
        }),
    }
}

/// A claim that one node holds would keep a new pod on another from starting, for ever.
fn writes_to_a_claim(spec: &McpServerSpec, refs: &Resolved) -> bool {
    let mut claims = spec.pod.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.any(|claim| claim.read_only != Some(true) && !refs.shared_claims.contains(&claim.claim_name))
}

/// The user's labels first: ours win.
fn template_meta(id: &Identity, spec: &McpServerSpec, refs: &Resolved) -> ObjectMeta {
    let mut labels = spec.pod.labels.clone();
    labels.extend(id.labels());
    let mut annotations = spec.pod.annotations.clone();
    annotations.extend(refs.env_digest.as_ref().map(|env| (ENV_DIGEST.to_owned(), env.digest.clone())));
    ObjectMeta {
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    }
}

fn pod(
    id: &Identity,
    spec: &McpServerSpec,
    refs: &Resolved,
    settings: &Settings,
    boot_config: &str,
) -> Result<PodSpec, Invalid> {
    let (volumes, mut runtime_mounts): (Vec<Volume>, Vec<VolumeMount>) =
        mounts::build(id, spec, boot_config).into_iter().unzip();
    runtime_mounts.extend(mounts::logs(spec));
    let given = &spec.pod;
    let mut pod = PodSpec {
        init_containers: match Backend::of(spec)? {
            Backend::Builtin => None,
            Backend::Container(container) => Some(vec![backend::build(container)]),
        },
        containers: vec![runtime(spec, refs, settings, runtime_mounts)],
        volumes: Some(volumes.into_iter().chain(given.volumes.iter().map(convert::volume)).collect()),
        service_account_name: Some(service_account::name(id, spec).to_owned()),
        image_pull_secrets: convert::list(&given.image_pull_secrets),
        node_selector: (!given.node_selector.is_empty()).then(|| given.node_selector.clone()),
        tolerations: convert::list(&given.tolerations),
        affinity: Some(given.affinity.clone().unwrap_or_else(|| spread_over_nodes(id))),
        topology_spread_constraints: convert::list(&topology(id, &given.topology_spread_constraints)),
        priority_class_name: given.priority_class_name.clone(),
        runtime_class_name: given.runtime_class_name.clone(),
        termination_grace_period_seconds: Some(termination_grace_seconds(spec)),
        ..PodSpec::default()
    };
    hardening::apply(&mut pod, given.security_context.as_ref());
    Ok(pod)
}

/// From SIGTERM to SIGKILL: longer than everything the runtime does in between, so that it is never killed.
fn termination_grace_seconds(spec: &McpServerSpec) -> i64 {
    i64::from(boot_config::drain_grace_seconds(spec))
        + i64::from(spec.disruption.drain_seconds)
        + i64::from(EXIT_MARGIN_SECONDS)
}

fn runtime(spec: &McpServerSpec, refs: &Resolved, settings: &Settings, volume_mounts: Vec<VolumeMount>) -> Container {
    let mcp_crds::Runtime { image, image_pull_policy, resources, probes } = &spec.runtime;
    let ports = Ports::of(spec);
    let policy = image_pull_policy.or(settings.runtime_image_pull_policy);
    Container {
        name: RUNTIME.to_owned(),
        image: Some(image.as_ref().or(refs.turn.image.as_ref()).unwrap_or(&settings.runtime_image).clone()),
        image_pull_policy: policy.map(PullPolicy::as_str).map(str::to_owned),
        args: Some(mounts::arguments()),
        ports: Some(vec![port(MCP, ports.mcp), port(MANAGEMENT, ports.management)]),
        resources: Some(convert::resources(resources)),
        liveness_probe: Some(probe("/livez", probes.liveness.into())),
        readiness_probe: Some(probe("/readyz", probes.readiness.into())),
        volume_mounts: Some(volume_mounts),
        ..Container::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, timing: mcp_crds::Probe) -> Probe {
    let mcp_crds::Probe { initial_delay_seconds, period_seconds, timeout_seconds, failure_threshold } = timing;
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(MANAGEMENT.to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: Some(initial_delay_seconds),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(timeout_seconds),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// Replicas prefer different nodes: the loss of one is not the loss of the server.
fn spread_over_nodes(id: &Identity) -> Affinity {
    let term = WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: PodAffinityTerm {
            label_selector: Some(id.selector()),
            topology_key: "kubernetes.io/hostname".to_owned(),
            ..PodAffinityTerm::default()
        },
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// A constraint without selector would count no pods at all: the server's own are meant.
fn topology(id: &Identity, constraints: &[TopologySpreadConstraint]) -> Vec<TopologySpreadConstraint> {
    let with_selector = |constraint: &TopologySpreadConstraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.clone().or_else(|| Some(id.selector())),
        ..constraint.clone()
    };
    constraints.iter().map(with_selector).collect()
}
