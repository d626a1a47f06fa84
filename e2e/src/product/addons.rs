//! What some cases need in the cluster beside the product, and most clusters have: metrics-server and cert-manager.
//! Both come when the first case asks, and stay.

use anyhow::Result;

use super::{fixtures, images};
use crate::clusters::Cluster;
use crate::clusters::tools::Tools;

/// The name of metrics-server's API, and the definition by which cert-manager is known.
const METRICS: [&str; 2] = ["apiservice", "v1beta1.metrics.k8s.io"];
const CERTIFICATES: [&str; 2] = ["crd", "certificates.cert-manager.io"];

/// What pods use, for HorizontalPodAutoscalers.
pub fn metrics_server(cluster: &Cluster) -> Result<()> {
    if is_somebody_elses(cluster, METRICS) {
        return Ok(());
    }
    let tools = Tools::of(&["addons"])?;
    install(cluster, &tools, include_str!("../../fixtures/metrics-server.yaml"))?;
    fixtures::wait_for(cluster, "kube-system", "metrics-server")?;
    cluster.kubectl(&["wait", METRICS[0], METRICS[1], "--for=condition=Available", "--timeout=60s"]).map(drop)
}

/// Certificates by an Issuer.
pub fn cert_manager(cluster: &Cluster) -> Result<()> {
    if is_somebody_elses(cluster, CERTIFICATES) {
        return Ok(());
    }
    let tools = Tools::of(&["addons"])?;
    let definitions = tools.program("addons", "cert-manager")?;
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions.to_string_lossy()])?;
    install(cluster, &tools, include_str!("../../fixtures/cert-manager.yaml"))?;
    fixtures::wait_for(cluster, "cert-manager", "cert-manager")
}

fn install(cluster: &Cluster, tools: &Tools, manifest: &str) -> Result<()> {
    let image = images::load_addons(cluster, tools)?;
    fixtures::apply(cluster, &manifest.replace("${IMAGE}", &image))
}

/// An existing cluster has its own.
fn is_somebody_elses(cluster: &Cluster, [kind, name]: [&str; 2]) -> bool {
    matches!(cluster, Cluster::Existing(_)) && cluster.kubectl(&["get", kind, name]).is_ok()
}
