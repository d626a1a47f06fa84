//! HorizontalPodAutoscaler `<name>`: changes the Deployment's number of pods, which the operator then leaves alone.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
    MetricSpec, MetricTarget,
};
use mcp_crds::{Autoscaling, McpServerSpec};

use super::Identity;
use super::deployment::RUNTIME;

/// CPU in percent of the request, where nothing else is said.
const DEFAULT_CPU: i32 = 80;

/// `None` unless the spec has `autoscaling`.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec) -> Option<HorizontalPodAutoscaler> {
    let given = spec.autoscaling.as_ref()?;
    Some(HorizontalPodAutoscaler {
        metadata: id.meta(&id.name),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: id.name.clone(),
            },
            min_replicas: Some(given.min_replicas),
            max_replicas: given.max_replicas,
            metrics: Some(metrics(given)),
            behavior: given.behavior.clone(),
        }),
        ..HorizontalPodAutoscaler::default()
    })
}

/// The runtime's own usage: every call passes through it, and a sidecar's idle memory would hide the load.
fn metrics(given: &Autoscaling) -> Vec<MetricSpec> {
    let (cpu, memory) = (given.target_cpu_utilization_percentage, given.target_memory_utilization_percentage);
    match given.metrics.as_slice() {
        [] if cpu.is_none() && memory.is_none() => vec![of_runtime("cpu", DEFAULT_CPU)],
        [] => {
            let cpu = cpu.map(|percent| of_runtime("cpu", percent));
            cpu.into_iter().chain(memory.map(|percent| of_runtime("memory", percent))).collect()
        }
        metrics => metrics.to_vec(),
    }
}

fn of_runtime(resource: &str, percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "ContainerResource".to_owned(),
        container_resource: Some(ContainerResourceMetricSource {
            container: RUNTIME.to_owned(),
            name: resource.to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}
