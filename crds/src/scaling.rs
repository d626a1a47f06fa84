//! How many pods there are, and how one version replaces another.

use k8s_openapi::api::autoscaling::v2 as autoscaling;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// A HorizontalPodAutoscaler for the pods. While it is set `replicas` is not used.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.minReplicas <= self.maxReplicas", "minReplicas must not be greater than maxReplicas"))]
#[x_kube(validation = (
    "!has(self.metrics) || !(has(self.targetCPUUtilizationPercentage) || has(self.targetMemoryUtilizationPercentage))",
    "metrics replace the target percentages: write one of the two"
))]
pub struct Autoscaling {
    /// Pods at least.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Pods at most.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// CPU of the runtime, in percent of its request, that pods should have on average. Default: 80, unless another
    /// target or metric is set.
    #[serde(default, rename = "targetCPUUtilizationPercentage", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_utilization_percentage: Option<i32>,
    /// Memory of the runtime, in percent of its request, that pods should have on average.
    #[serde(default, rename = "targetMemoryUtilizationPercentage", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_memory_utilization_percentage: Option<i32>,
    /// Metrics in place of the targets, as in a HorizontalPodAutoscaler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), schema_with = "schema::list_of::<autoscaling::MetricSpec>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub metrics: Vec<autoscaling::MetricSpec>,
    /// How fast pods are added and removed, as in a HorizontalPodAutoscaler. Default: Kubernetes' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<autoscaling::HorizontalPodAutoscalerBehavior>")]
    pub behavior: Option<autoscaling::HorizontalPodAutoscalerBehavior>,
}

fn one() -> i32 {
    1
}

/// How a new version of the pods replaces the old one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Recreate where a PersistentVolumeClaim is mounted for writing that is not ReadWriteMany, since one node has it; else
    /// RollingUpdate.
    #[default]
    Auto,
    /// No pod goes before another is ready in its place.
    RollingUpdate,
    /// All pods end before new ones start.
    Recreate,
}
