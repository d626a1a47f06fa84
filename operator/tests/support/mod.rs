//! What the tests of this crate share. Each test binary uses a part of it.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod any;
pub mod fixture;
pub mod objects;
pub mod pod_security;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use mcp_operator::settings::{SecretAccess, Settings};

/// The settings of an installation with everything set.
pub fn settings() -> Settings {
    let namespace = |name: &str| NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_labels: Some([("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into()),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    };
    Settings {
        runtime_image: "ghcr.io/mcp-operator/mcp-server:0.1.0".to_owned(),
        runtime_image_pull_policy: None,
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: Some("mcp-system".to_owned()),
        mcp_from: Vec::new(),
        metrics_from: vec![namespace("monitoring")],
        secret_access: SecretAccess::Full,
    }
}
