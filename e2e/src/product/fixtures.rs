//! What an installation has besides the product: namespaces that enforce Pod Security `restricted`, a redis, and an
//! authorization server behind the same ingress.

use anyhow::Result;

use super::images::Images;
use crate::clusters::Cluster;

/// The client that may ask the issuer for tokens, and its scopes.
pub const CLIENT_ID: &str = "demo-client";
/// Its secret. It opens nothing but test clusters.
pub const CLIENT_SECRET: &str = "demo-secret";
/// All scopes that it may ask for.
pub const SCOPES: &[&str] = &["user", "read", "write", "admin"];

/// Creates a namespace in which only `restricted` pods may run; others would also be warned of and audited.
pub fn namespace(cluster: &Cluster, name: &str) -> Result<()> {
    let labels: String = ["enforce", "warn", "audit"]
        .map(|mode| format!("    pod-security.kubernetes.io/{mode}: restricted\n"))
        .concat();
    apply(cluster, &format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n{labels}"))
}

/// A redis, its Service, and the Secret `mcp-secrets` with its URL.
pub fn redis(cluster: &Cluster, namespace: &str, images: &Images) -> Result<()> {
    let manifest = include_str!("../../fixtures/redis.yaml");
    apply_in(cluster, namespace, &manifest.replace("${IMAGE}", &images.redis))
}

/// The authorization server and its route: `https://HOST` at the ingress, with the certificate in Secret `mcp-tls`.
pub fn issuer(cluster: &Cluster, namespace: &str, host: &str, images: &Images) -> Result<()> {
    let client = format!("{CLIENT_ID}:{CLIENT_SECRET}:{}", SCOPES.join(","));
    let manifest = include_str!("../../fixtures/issuer.yaml")
        .replace("${IMAGE}", &images.issuer)
        .replace("${HOST}", host)
        .replace("${CLIENTS}", &client);
    apply_in(cluster, namespace, &manifest)
}

/// Waits until a Deployment has all its pods.
pub fn wait_for(cluster: &Cluster, namespace: &str, deployment: &str) -> Result<()> {
    let name = format!("deployment/{deployment}");
    cluster.kubectl(&["rollout", "status", &name, "--namespace", namespace, "--timeout=90s"]).map(drop)
}

/// Applies manifests as a user would.
pub fn apply(cluster: &Cluster, manifest: &str) -> Result<()> {
    cluster.kubectl_with_input(&["apply", "-f", "-"], manifest).map(drop)
}

/// The same in a namespace.
pub fn apply_in(cluster: &Cluster, namespace: &str, manifest: &str) -> Result<()> {
    cluster.kubectl_with_input(&["apply", "--namespace", namespace, "-f", "-"], manifest).map(drop)
}
