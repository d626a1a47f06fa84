//! PodDisruptionBudget `<name>`: how many pods a drained node may take at once.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_crds::{Disruption, McpServerSpec};

use super::Identity;

/// `None` where there may be only one pod: a budget for it would keep its node from being drained.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec) -> Option<PodDisruptionBudget> {
    let fewest = spec.autoscaling.as_ref().map_or(spec.replicas, |autoscaling| autoscaling.min_replicas);
    let Disruption { drain_seconds: _, min_available, max_unavailable } = &spec.disruption;
    let max_unavailable = match min_available {
        None => Some(max_unavailable.clone().unwrap_or(IntOrString::Int(1))),
        Some(_) => None,
    };
    (fewest >= 2).then(|| PodDisruptionBudget {
        metadata: id.meta(&id.name),
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(id.selector()),
            min_available: min_available.clone(),
            max_unavailable,
            // A pod that serves nobody must not keep its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        }),
        ..PodDisruptionBudget::default()
    })
}
