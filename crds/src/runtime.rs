//! The runtime container: mcp-operator's own hardened server in front of every backend.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Resources, schema};

/// The runtime container of the pod.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// Image of the runtime. Default: the image the operator was installed with. Setting it pins this server's runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (schema::IMAGE_RULE, schema::IMAGE_MESSAGE))]
    pub image: Option<String>,
    /// When to pull the image. Default: the operator's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<PullPolicy>")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Compute resources of the runtime. Default: requests 250m CPU and 256Mi, limits 500m CPU and 512Mi.
    #[serde(default = "default_resources")]
    pub resources: Resources,
    /// When Kubernetes probes the runtime.
    #[serde(default)]
    pub probes: Probes,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { image: None, image_pull_policy: None, resources: default_resources(), probes: Probes::default() }
    }
}

fn default_resources() -> Resources {
    Resources::of(&[("cpu", "250m"), ("memory", "256Mi")], &[("cpu", "500m"), ("memory", "512Mi")])
}

/// When an image is pulled.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every container start.
    Always,
    /// When it is not on the node.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// Kubernetes' name of the policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Timings of the runtime's probes; their endpoints are fixed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Probes {
    /// Restarts the runtime when its process hangs. Depends on nothing outside of the process.
    #[serde(default)]
    pub liveness: LivenessProbe,
    /// Takes traffic from the pod until its backend and shared dependencies have answered once, and while it drains.
    #[serde(default)]
    pub readiness: ReadinessProbe,
}

/// Timing of the probe that restarts the runtime.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LivenessProbe {
    /// Seconds after the container's start before the first probe.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 3600))]
    pub initial_delay_seconds: i32,
    /// Seconds between probes.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: i32,
    /// Seconds after which a probe without answer has failed.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: i32,
    /// Failures in a row that count.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: i32,
}

/// Timing of the probe that takes traffic from the pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessProbe {
    /// Seconds after the container's start before the first probe.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 3600))]
    pub initial_delay_seconds: i32,
    /// Seconds between probes.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: i32,
    /// Seconds after which a probe without answer has failed.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: i32,
    /// Failures in a row that count.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: i32,
}

/// Timing of either probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see the two")]
pub struct Probe {
    pub initial_delay_seconds: i32,
    pub period_seconds: i32,
    pub timeout_seconds: i32,
    pub failure_threshold: i32,
}

impl Default for LivenessProbe {
    fn default() -> Self {
        Self {
            initial_delay_seconds: thirty(),
            period_seconds: ten(),
            timeout_seconds: three(),
            failure_threshold: three(),
        }
    }
}

impl Default for ReadinessProbe {
    fn default() -> Self {
        Self {
            initial_delay_seconds: five(),
            period_seconds: five(),
            timeout_seconds: three(),
            failure_threshold: three(),
        }
    }
}

impl From<LivenessProbe> for Probe {
    fn from(probe: LivenessProbe) -> Self {
        let LivenessProbe { initial_delay_seconds, period_seconds, timeout_seconds, failure_threshold } = probe;
        Self { initial_delay_seconds, period_seconds, timeout_seconds, failure_threshold }
    }
}

impl From<ReadinessProbe> for Probe {
    fn from(probe: ReadinessProbe) -> Self {
        let ReadinessProbe { initial_delay_seconds, period_seconds, timeout_seconds, failure_threshold } = probe;
        Self { initial_delay_seconds, period_seconds, timeout_seconds, failure_threshold }
    }
}

fn thirty() -> i32 {
    30
}

fn ten() -> i32 {
    10
}

fn five() -> i32 {
    5
}

fn three() -> i32 {
    3
}
