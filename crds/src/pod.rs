//! The pod around runtime and backend. Only what cannot weaken its hardening can be set: the operator's security
//! defaults are applied last.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Settings of the pod.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Labels for the pods. The operator's own are kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = (
        "self.all(key, !key.startsWith('app.kubernetes.io/') && !key.contains('mcp-operator.dev/'))",
        "labels of app.kubernetes.io and mcp-operator.dev are the operator's: choose another prefix"
    ))]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = (
        "self.all(key, !key.contains('mcp-operator.dev/'))",
        "annotations of mcp-operator.dev are the operator's: choose another prefix"
    ))]
    pub annotations: BTreeMap<String, String>,
    /// Secrets with registry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), schema_with = "schema::list_of::<core::LocalObjectReference>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<core::LocalObjectReference>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Node taints that are tolerated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), schema_with = "schema::list_of::<core::Toleration>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub tolerations: Vec<core::Toleration>,
    /// Scheduling preferences. Default: replicas prefer different nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::Affinity>")]
    pub affinity: Option<core::Affinity>,
    /// How replicas spread over zones or nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), schema_with = "schema::list_of::<core::TopologySpreadConstraint>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub topology_spread_constraints: Vec<core::TopologySpreadConstraint>,
    /// PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// RuntimeClass of the pods, as in gvisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// ServiceAccount of the pods in place of the one the operator makes. Its token is not mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Volumes that `volumeMounts` of the backend mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub volumes: Vec<Volume>,
    /// Users and groups that the containers run as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodIdentity>,
}

/// A volume, as in a Pod, of the kinds that Pod Security `restricted` admits. Exactly one source.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.configMap), has(self.secret), has(self.emptyDir), has(self.persistentVolumeClaim), has(self.projected), has(self.downwardAPI), has(self.csi), has(self.ephemeral)].filter(set, set).size() == 1",
    "set exactly one of configMap, secret, emptyDir, persistentVolumeClaim, projected, downwardAPI, csi and ephemeral; volumes of the node (hostPath) are refused"
))]
pub struct Volume {
    /// Name that `volumeMounts` use. Names that begin with `mcp-` are the operator's.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = ("!self.startsWith('mcp-')", "volume names that begin with mcp- are the operator's: choose another name"))]
    pub name: String,
    /// Files from a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::ConfigMapVolumeSource>")]
    pub config_map: Option<core::ConfigMapVolumeSource>,
    /// Files from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::SecretVolumeSource>")]
    pub secret: Option<core::SecretVolumeSource>,
    /// An empty directory that lives as long as the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::EmptyDirVolumeSource>")]
    pub empty_dir: Option<core::EmptyDirVolumeSource>,
    /// A PersistentVolumeClaim of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::PersistentVolumeClaimVolumeSource>")]
    pub persistent_volume_claim: Option<core::PersistentVolumeClaimVolumeSource>,
    /// Several sources in one directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::ProjectedVolumeSource>")]
    pub projected: Option<core::ProjectedVolumeSource>,
    /// Fields of the pod as files.
    #[serde(default, rename = "downwardAPI", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::DownwardAPIVolumeSource>")]
    pub downward_api: Option<core::DownwardAPIVolumeSource>,
    /// A volume of a CSI driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::CSIVolumeSource>")]
    pub csi: Option<core::CSIVolumeSource>,
    /// A claim that lives as long as the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::EphemeralVolumeSource>")]
    pub ephemeral: Option<core::EphemeralVolumeSource>,
}

/// Users and groups of the pod's processes. Everything else of a security context is fixed by the operator.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodIdentity {
    /// User id of the containers. Default: 65532 for the runtime, the image's user for the backend (it must not be root).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Group id of the containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Group that owns the volumes. Default: 65532.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub fs_group: Option<i64>,
    /// Further groups of the processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub supplemental_groups: Vec<i64>,
}

/// How pods end, and how many at once where a node is drained.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!(has(self.minAvailable) && has(self.maxUnavailable))",
    "minAvailable and maxUnavailable say the same thing in two ways: write one of the two"
))]
pub struct Disruption {
    /// Seconds that a stopping pod gives to calls under way.
    #[serde(default = "default_drain")]
    #[schemars(range(min = 0, max = 3600))]
    pub drain_seconds: i32,
    /// Pods, or a percentage of them, that must stay when nodes are drained. Used from two replicas on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<IntOrString>")]
    pub min_available: Option<IntOrString>,
    /// Pods, or a percentage of them, that may go at once when nodes are drained. Used from two replicas on. Default: 1,
    /// unless `minAvailable` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<IntOrString>")]
    pub max_unavailable: Option<IntOrString>,
}

impl Default for Disruption {
    fn default() -> Self {
        Self { drain_seconds: default_drain(), min_available: None, max_unavailable: None }
    }
}

fn default_drain() -> i32 {
    30
}
