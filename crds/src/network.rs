//! The Service, and which traffic the NetworkPolicy lets through.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1 as networking;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which traffic reaches and leaves the pods.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Make a NetworkPolicy.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Who may reach the MCP port, as in a NetworkPolicy. Default: everybody. The operator always may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), schema_with = "schema::list_of::<networking::NetworkPolicyPeer>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub ingress_from: Vec<networking::NetworkPolicyPeer>,
    /// Where the pods may connect to, as in a NetworkPolicy. Replaces the default: DNS, and at any address but link-local
    /// ones HTTPS, the ports in the URLs of issuers, redis and the collector of traces, 6379 with redis, 5432 with a
    /// database; and every port in the namespaces that those URLs name, as in issuer.identity.svc. Policies see the ports
    /// of pods, not of Services: a redis or a database whose pods listen at another port has to be named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), schema_with = "schema::list_of::<networking::NetworkPolicyEgressRule>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub egress_to: Vec<networking::NetworkPolicyEgressRule>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: true, ingress_from: Vec::new(), egress_to: Vec::new() }
    }
}

fn enabled() -> bool {
    true
}

/// The Service in front of the pods: port 80 for MCP (443 with `tls`), and `management`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Type of the Service.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Annotations for the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Application protocol of the MCP port, as in a Service. Default: https with `tls`, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub app_protocol: Option<String>,
}

/// Type of the Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// An address inside the cluster.
    #[default]
    ClusterIP,
    /// A port on every node as well.
    NodePort,
    /// An external load balancer as well.
    LoadBalancer,
}

impl ServiceType {
    /// Kubernetes' name of the type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}
