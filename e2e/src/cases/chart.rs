//! The chart's promises at its end.

use anyhow::{Context as _, Result, ensure};
use tokio::task::block_in_place;

use super::{Context, Done};
use crate::product::install;

/// With the definitions go all servers of the cluster: they stay unless somebody says otherwise.
pub async fn uninstalling_keeps_the_definitions_when_asked(context: &Context) -> Result<Done> {
    context.serve("kept", "backend: {builtin: {}}\n")?;
    context.ready("kept").await?;
    let pods = context.pod_uids("kept").await?;
    let cluster = &context.stage.cluster;
    let images = &context.stage.images;
    block_in_place(|| {
        context.stage.install(images, &["--set=crds.keep=true"])?;
        cluster.helm(&["uninstall", install::RELEASE, "--namespace", install::NAMESPACE, "--wait"])
    })?;
    let kept = context.kubectl(&["get", "mcpserver", "kept", "-o", "name"]);
    let left = block_in_place(|| {
        let roles = "clusterroles,clusterrolebindings";
        cluster.kubectl(&["get", roles, "-l", "app.kubernetes.io/instance=mcp-operator", "-o", "name"])
    });
    // Whatever was found: the operator comes back before it is judged.
    block_in_place(|| context.stage.install(images, &[]))?;

    ensure!(kept.context("the definition is gone, and every server with it")?.contains("kept"));
    let left = left?;
    ensure!(left.trim().is_empty(), "the chart left cluster-wide objects: {left}");
    context.ready("kept").await?;
    ensure!(context.pod_uids("kept").await? == pods, "the server's pods were replaced");
    Ok(Done::Passed)
}
