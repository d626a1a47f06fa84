//! What answers the MCP calls behind the runtime.

use k8s_openapi::api::core::v1 as core;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PullPolicy, Resources, schema};

/// What answers the MCP calls behind the runtime. Exactly one member.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(has(self.container) ? 1 : 0) + (has(self.builtin) ? 1 : 0) == 1",
    "set exactly one backend: container or builtin"
))]
pub struct Backend {
    /// An MCP server that speaks Streamable HTTP, run as a container beside the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<Container>>,
    /// The runtime's own demonstration and diagnostic tools: echo, add, progress, whoami, sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<Builtin>,
}

/// The runtime's own tools; nothing to set.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Builtin {}

/// An MCP server that speaks Streamable HTTP, run as a container in the same pod.
///
/// The runtime reaches it at 127.0.0.1, so it need not listen on the pod's address.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Image of the server, by digest where possible.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (schema::IMAGE_RULE, schema::IMAGE_MESSAGE))]
    pub image: String,
    /// When to pull the image. Default: Kubernetes' rule (Always for the tag latest, else IfNotPresent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<PullPolicy>")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Port on which the server listens. 18000, 18443 and 19090 are the runtime's.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(validation = ("!(self in [18000, 18443, 19090])", "ports 18000, 18443 and 19090 are used by the runtime in this pod: choose another port"))]
    pub port: i32,
    /// Path of the server's MCP endpoint.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = (r"self.matches('^/[^\\s?#]*$')", "must be a URL path: begin with '/', without spaces, '?' or '#'"))]
    pub path: String,
    /// The server keeps no session state: any replica answers any request of the 2025 protocol revisions.
    #[serde(default)]
    pub stateless: bool,
    /// Command in place of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub command: Vec<String>,
    /// Arguments of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub args: Vec<String>,
    /// Environment variables of the server. The runtime does not see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), schema_with = "schema::list_of::<core::EnvVar>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<core::EnvVar>,
    /// Whole ConfigMaps and Secrets as environment variables of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), schema_with = "schema::list_of::<core::EnvFromSource>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub env_from: Vec<core::EnvFromSource>,
    /// Compute resources of the server. Default: requests 100m CPU and 128Mi, limit 512Mi of memory.
    #[serde(default = "default_resources")]
    pub resources: Resources,
    /// Kubernetes probes of the server's own container. Default: none; the runtime waits for a real MCP handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<ContainerProbes>,
    /// Where volumes of `pod.volumes` are mounted in the server's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), schema_with = "schema::list_of::<core::VolumeMount>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["mountPath".into()]))]
    pub volume_mounts: Vec<core::VolumeMount>,
}

/// Kubernetes probes of the server's own container. They use the pod's address, not 127.0.0.1.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProbes {
    /// The runtime starts after this probe has succeeded. Written as in a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<core::Probe>")]
    pub startup: Option<core::Probe>,
}

fn default_port() -> i32 {
    8000
}

fn default_path() -> String {
    "/mcp".to_owned()
}

pub(crate) fn default_resources() -> Resources {
    Resources::of(&[("cpu", "100m"), ("memory", "128Mi")], &[("memory", "512Mi")])
}
