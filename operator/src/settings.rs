//! What the operator was installed with and every server shares. Values only: flags and environment are read in `main`.

use std::str::FromStr;

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
    /// What the operator may do with Secrets.
    pub secret_access: SecretAccess,
}

/// What the operator may do with Secrets: as much as its role has.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretAccess {
    /// See which there are, make the generated keys, and read those in a backend's environment.
    #[default]
    #[value(name = "Full")]
    Full,
    /// The same, without reading: any change of a Secret in an environment rolls the pods.
    #[value(name = "NoGet")]
    NoGet,
    /// Nothing: the keys are the user's to make, and a Secret that is missing shows when a pod starts.
    #[value(name = "None")]
    None,
}

/// Peers as a NetworkPolicy has them, written as a JSON list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peers(pub Vec<NetworkPolicyPeer>);

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str =
            r#"[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]"#;
        let wrong = |why: &str| format!("{why}: write a JSON list of NetworkPolicy peers, as in {EXAMPLE}");
        let written: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        let parse = |peer: &serde_json::Value| {
            let read: NetworkPolicyPeer =
                serde_json::from_value(peer.clone()).map_err(|error| wrong(&error.to_string()))?;
            // A misspelt key would be dropped in silence, and the peer would mean something else.
            if read == NetworkPolicyPeer::default() || !serde_json::to_value(&read).is_ok_and(|read| read == *peer) {
                return Err(wrong(&format!("{peer} is no peer")));
            }
            Ok(read)
        };
        written.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_as_written() {
        let Peers(peers) = r#"[{"podSelector": {"matchLabels": {"app": "prometheus"}}}]"#.parse().unwrap();
        assert_eq!(peers.len(), 1);
        assert_eq!("[]".parse(), Ok(Peers::default()));
    }

    #[test]
    fn a_misspelt_peer_admits_nobody_unseen() {
        for text in ["prometheus", "{}", "[{}]", r#"[{"podSelectr": {}}]"#, r#"[{"podSelector": {"matchLabel": {}}}]"#]
        {
            let error = text.parse::<Peers>().unwrap_err();
            assert!(error.contains("write a JSON list of NetworkPolicy peers"), "{error}");
        }
    }
}
