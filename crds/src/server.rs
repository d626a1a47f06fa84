//! The `McpServer` resource.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    Auth, Autoscaling, Backend, Cors, Database, Disruption, Expose, McpServerStatus, NetworkPolicy, Observability, Pod,
    RateLimits, Redis, Runtime, Service, Sessions, Strategy, Tls, Tools,
};

/// A production MCP endpoint: the server that you have, behind mcp-operator's runtime.
#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mcp-operator.dev",
    version = "v1alpha1",
    kind = "McpServer",
    plural = "mcpservers",
    shortname = "mcp",
    category = "mcp",
    namespaced,
    status = "McpServerStatus",
    derive = "PartialEq",
    doc = "A production MCP endpoint: the server that you have, behind mcp-operator's runtime.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.backend"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".status.server.protocolVersions[0]"),
    printcolumn(name = "Tools", type_ = "integer", json_path = ".status.tools.count"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.address.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", priority = 1, json_path = ".spec.backend.container.image"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    validation = Rule::new("size(self.metadata.name) <= 52")
        .message("the name leaves no room for the names of its objects: use at most 52 characters"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name becomes the name of a Service: begin with a letter, then lower-case letters, digits and '-'")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.expose) || has(self.auth)",
    "expose needs auth: name the issuers whose tokens are accepted, or write auth: {anonymous: Allow} to serve everybody"
))]
#[x_kube(validation = (
    "!has(self.sessions.store) || self.sessions.store != 'Redis' || has(self.redis)",
    "sessions.store: Redis needs redis"
))]
#[x_kube(validation = (
    "!has(self.backend.container) || !has(self.observability.metrics.port) || self.observability.metrics.port != self.backend.container.port",
    "observability.metrics.port and backend.container.port are in the same pod and must differ"
))]
#[x_kube(validation = (
    "!has(self.observability.metrics.serviceMonitor) || (self.service.type == 'ClusterIP' && self.observability.metrics.enabled)",
    "serviceMonitor needs metrics.enabled and service.type: ClusterIP: other types do not publish the management port"
))]
#[x_kube(validation = (
    "!has(self.tls) || !has(self.tls.issuerRef) || !has(self.expose) || !has(self.expose.tls) || !has(self.expose.tls.secretName) || self.expose.tls.secretName != self.tls.secretName",
    "tls.issuerRef and expose.tls would fill the same Secret with two certificates: name two Secrets"
))]
#[x_kube(validation = (
    "!has(self.database) || !has(self.database.migrations) || has(self.database.migrations.image) || has(self.backend.container)",
    "database.migrations needs an image: there is no backend.container whose image it could take"
))]
pub struct McpServerSpec {
    /// What answers the MCP calls behind the runtime.
    pub backend: Backend,
    /// The runtime container.
    #[serde(default)]
    pub runtime: Runtime,
    /// Pods to run. 0 stops the server and keeps its address. Not used while `autoscaling` is set.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Lets Kubernetes choose the number of pods. Without it `replicas` does, which `kubectl scale mcp` and an autoscaler of
    /// your own may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Box<Autoscaling>>,
    /// How a new version of the pods replaces the old one.
    #[serde(default)]
    pub strategy: Strategy,
    /// How clients outside of the cluster reach the server. Without it only the cluster does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Box<Expose>>,
    /// Who may call the server. Without it everybody in the cluster may, unless it is exposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Box<Auth>>,
    /// Which tools of the backend there are for clients.
    #[serde(default)]
    pub tools: Tools,
    /// How often clients may call.
    #[serde(default)]
    pub rate_limits: RateLimits,
    /// Sessions of the 2025 protocol revisions.
    #[serde(default)]
    pub sessions: Sessions,
    /// The redis that replicas share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Box<Redis>>,
    /// The database. Without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Box<Database>>,
    /// TLS inside of the pod. Without it the runtime speaks plain HTTP; TLS of the route is `expose.tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<Tls>>,
    /// Which web pages may call the server from a browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Logs, audit stream, metrics and traces of the runtime.
    #[serde(default)]
    pub observability: Observability,
    /// Which traffic reaches and leaves the pods.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// How pods end.
    #[serde(default)]
    pub disruption: Disruption,
    /// The Service in front of the pods.
    #[serde(default)]
    pub service: Service,
    /// The pod around runtime and backend.
    #[serde(default)]
    pub pod: Pod,
    /// Stop reconciling: the objects stay as they are. To stop the pods set `replicas: 0`.
    #[serde(default)]
    pub suspend: bool,
}

fn one() -> i32 {
    1
}
