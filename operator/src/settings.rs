//! What the operator was installed with and every server shares. Values only: flags and environment are read in `main`.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use mcp_crds::PullPolicy;

/// The installation's settings, as far as they shape children.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Image of the runtime where `spec.runtime.image` does not pin one.
    pub runtime_image: String,
    /// Pull policy of that image. `None` leaves it to Kubernetes.
    pub runtime_image_pull_policy: Option<PullPolicy>,
    /// DNS domain of the cluster, as in `cluster.local`.
    pub cluster_domain: String,
    /// Namespace of the operator, which NetworkPolicies admit. `None` when it runs outside of the cluster.
    pub operator_namespace: Option<String>,
    /// Who may reach the MCP port where a server names nobody (the ingress controller). Empty: everybody.
    pub mcp_from: Vec<NetworkPolicyPeer>,
    /// Who may scrape the management port (Prometheus), besides the operator and the server's own pods.
    pub metrics_from: Vec<NetworkPolicyPeer>,
}
