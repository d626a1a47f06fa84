//! The part of HTTPRoute (gateway.networking.k8s.io/v1) and ServiceMonitor (monitoring.coreos.com/v1) that is written and
//! read. Both kinds are somebody else's: the cluster may lack them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use mcp_crds::ParentRef;
use serde::{Deserialize, Serialize};

/// What an HTTPRoute asks for.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    root = "HttpRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    status = "HttpRouteStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// The hosts.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// What goes where.
    #[serde(default)]
    pub rules: Vec<RouteRule>,
}

/// Some paths, and where they lead.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteRule {
    /// The paths.
    #[serde(default)]
    pub matches: Vec<RouteMatch>,
    /// The Service.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// How long an answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RouteTimeouts>,
}

/// One path.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
}

/// One path.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PathMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    pub type_: String,
    /// The path.
    pub value: String,
}

/// A port of a Service in the route's namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct BackendRef {
    /// The Service.
    pub name: String,
    /// Its port.
    pub port: i32,
}

/// How long an answer may take.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RouteTimeouts {
    /// The whole answer.
    pub request: String,
}

/// What the Gateways' controllers say.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct HttpRouteStatus {
    /// By Gateway.
    #[serde(default)]
    pub parents: Vec<ParentStatus>,
}

/// What one Gateway's controller says.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The Gateway.
    pub parent_ref: ParentRef,
    /// `Accepted`, `ResolvedRefs` and others.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// What a ServiceMonitor asks for.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "monitoring.coreos.com",
    version = "v1",
    kind = "ServiceMonitor",
    plural = "servicemonitors",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
pub struct ServiceMonitorSpec {
    /// The Service.
    pub selector: LabelSelector,
    /// Its ports with metrics.
    pub endpoints: Vec<MonitoredPort>,
}

/// One port with metrics.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct MonitoredPort {
    /// Name of the Service's port.
    pub port: String,
    /// Path of the metrics.
    pub path: String,
    /// Time between two scrapes. Prometheus' own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}
