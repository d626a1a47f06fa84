//! From one `McpServer` to all of its objects. Pure: values in, values out, no client, no clock, no randomness.
//!
//! ```text
//! spec + Resolved + Settings ── identity (names, labels, owner) ── one file per child ── hardening (last, every pod)
//! ```

mod checks;
mod convert;
pub mod endpoint;
pub mod identity;
mod invalid;
mod mounts;
mod yaml;
// One file per child, in the order of `Children`.
pub mod boot_config;
pub mod certificate;
pub mod keys;
pub mod live_config;
pub mod migrations;
pub mod network_policy;
pub mod service;
pub mod service_account;
// The pods: the runtime, the user's container, and last their hardening.
pub mod autoscaler;
pub mod backend;
pub mod deployment;
pub mod disruption_budget;
pub mod hardening;
pub mod service_monitor;
// The route.
pub mod http_route;
pub mod ingress;

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use mcp_crds::McpServer;

use crate::cert_manager::Certificate;
use crate::exposure;
use crate::gateway::{HttpRoute, ServiceMonitor};
use crate::settings::Settings;
use crate::upgrade::Turn;

pub use identity::Identity;
pub use invalid::Invalid;

/// Everything one `McpServer` asks of the cluster. `None` means "must not exist".
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// Identity of the pods; without token, without bindings. `None` while `pod.serviceAccountName` names another.
    pub service_account: Option<ServiceAccount>,
    /// `<name>-boot-<hash>`: what needs a restart. Immutable; older ones stay while a ReplicaSet uses them.
    pub boot_config: ConfigMap,
    /// `<name>-live`: what the runtime reloads.
    pub live_config: ConfigMap,
    /// `<name>-keys`: created once when absent, never written again.
    pub keys: keys::Template,
    /// Has cert-manager fill the Secret of `spec.tls`.
    pub certificate: Option<Certificate>,
    /// Which traffic reaches and leaves the pods.
    pub network_policy: Option<NetworkPolicy>,
    /// The address inside the cluster.
    pub service: Service,
    /// What brings the database to what the pods expect, and the hash of what it does: created once, before the pods.
    pub migrations: Option<(Job, String)>,
    /// The pods.
    pub deployment: Deployment,
    /// How many pods a drained node may take at once.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Who chooses the number of pods.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// The route from outside.
    pub ingress: Option<Ingress>,
    /// The route through Gateways.
    pub http_route: Option<HttpRoute>,
    /// Where Prometheus finds the metrics.
    pub service_monitor: Option<ServiceMonitor>,
    /// Value of the annotation that asks for new keys.
    pub rotate_keys: Option<String>,
    /// Digest of the live file in `live_config`: a pod that reports it uses the configuration of this generation.
    pub live_digest: String,
}

/// What the Secrets and ConfigMaps in the backend's environment say. A change rolls the pods: a process sees its
/// environment only when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvDigest {
    /// Keyed digest of what they say.
    pub digest: String,
    /// Digest of the versions that it was made of: while they are the same nothing need be read, also after a restart.
    pub versions: String,
}

/// What the spec refers to, looked up. Values only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// `spec.controller` of the IngressClass in force: the named one, else the cluster's default. `None` when the server
    /// is not exposed, or the class is not known.
    pub ingress_controller: Option<String>,
    /// Hosts of this server that another `McpServer` of the namespace exposes too.
    pub shared_hosts: BTreeSet<String>,
    /// What the backend's environment says. `None` when it refers to nothing.
    pub env_digest: Option<EnvDigest>,
    /// Claims that pods of several nodes may write to.
    pub shared_claims: BTreeSet<String>,
    /// Pods that there are while an autoscaler chooses their number.
    pub replicas: Option<i32>,
    /// Which image of the runtime the server gets where it pins none: its turn may not have come.
    pub turn: Turn,
}

/// All objects that `server` asks for.
///
/// # Errors
/// What the schema and the CEL rules of the CRD cannot check; the message says what to change.
pub fn desired(server: &McpServer, refs: &Resolved, settings: &Settings) -> Result<Children, Invalid> {
    let id = Identity::of(server)?;
    let spec = &server.spec;
    checks::check(spec, settings)?;
    let profile = exposure::annotations(&id, spec, refs.ingress_controller.as_deref());
    let boot_config = boot_config::build(&id, spec, refs)?;
    let migrations = migrations::build(&id, spec)?;
    let migrated = migrations.as_ref().map(|(_, hash)| hash.as_str());
    let (live_config, live_digest) = live_config::build(&id, spec, refs, settings)?;
    Ok(Children {
        service_account: service_account::build(&id, spec),
        keys: keys::build(&id),
        certificate: certificate::build(&id, spec, settings),
        network_policy: network_policy::build(&id, spec, settings),
        service: service::build(&id, spec, profile.clone()),
        deployment: deployment::build(&id, spec, refs, settings, &boot_config.name_any(), migrated)?,
        migrations,
        disruption_budget: disruption_budget::build(&id, spec),
        autoscaler: autoscaler::build(&id, spec),
        ingress: ingress::build(&id, spec, refs, profile),
        http_route: http_route::build(&id, spec, refs),
        service_monitor: service_monitor::build(&id, spec),
        boot_config,
        live_config,
        rotate_keys: keys::request(server),
        live_digest,
    })
}
