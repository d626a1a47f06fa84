//! The operator, installed by Helm from the chart in this repository, as its users install it.

use anyhow::Result;

use super::images::Images;
use super::repository;
use crate::clusters::Cluster;

/// The Helm release, and the operator's Deployment.
pub const RELEASE: &str = "mcp-operator";
/// The namespace that it is installed into.
pub const NAMESPACE: &str = "mcp-operator-system";

/// Installs or upgrades the operator and waits until it runs.
pub fn operator(cluster: &Cluster, images: &Images) -> Result<()> {
    helm_upgrade(cluster, &chart(), images, &[])
}

/// Where the chart is.
#[must_use]
pub fn chart() -> String {
    repository().join("charts/mcp-operator").to_string_lossy().into_owned()
}

/// The same with a chart of which the folder or the package is given, and further arguments for Helm.
pub fn helm_upgrade(cluster: &Cluster, chart: &str, images: &Images, more: &[&str]) -> Result<()> {
    let image = |prefix: &str, reference: &str| {
        let (repository, tag) = reference.split_once(':').unwrap_or((reference, "latest"));
        [
            format!("--set-string={prefix}.repository={repository}"),
            format!("--set-string={prefix}.tag={tag}"),
            // What was loaded from a file is nowhere to be pulled from.
            format!("--set-string={prefix}.pullPolicy=IfNotPresent"),
        ]
    };
    let values = [image("image", &images.operator), image("runtime.image", &images.server)].concat();
    let mut arguments = vec!["upgrade", "--install", RELEASE, chart, "--namespace", NAMESPACE, "--create-namespace"];
    arguments.extend(["--wait", "--timeout", "120s"]);
    arguments.extend(values.iter().map(String::as_str));
    arguments.extend(more);
    cluster.helm(&arguments).map(drop)
}
