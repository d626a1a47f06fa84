//! A new release of the chart, and a new runtime for servers that are at work.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;
use tokio::task::block_in_place;

use super::context::condition_of;
use super::{Context, Done};
use crate::product::images::{self, Images};
use crate::product::install;

const SERVERS: [&str; 3] = ["one", "two", "three"];
/// Of the chart: servers that get a new runtime at the same time.
const ONE_AT_A_TIME: &str = "--set=rollout.maxConcurrent=1";

pub async fn an_upgrade_restarts_nothing_and_a_new_runtime_rolls_in_stages(context: &Context) -> Result<Done> {
    let result = story(context).await;
    // Whatever came of it: other cases have the operator that was there before.
    let restored = block_in_place(|| context.stage.install(&context.stage.images, &[]));
    result.and(restored.map(|()| Done::Passed))
}

async fn story(context: &Context) -> Result<()> {
    let (cluster, images) = (&context.stage.cluster, &context.stage.images);
    for server in SERVERS {
        context.serve(server, "backend: {builtin: {}}\n")?;
    }
    for server in SERVERS {
        context.ready(server).await?;
    }
    let before = pods(context).await?;

    let folder = tempfile::tempdir().context("make a folder")?;
    block_in_place(|| {
        let chart = install::chart();
        let destination = folder.path().to_string_lossy();
        let version = ["--version", "0.99.0", "--app-version", "0.99.0"];
        cluster.helm(&[&["package", &chart, "--destination", &destination], &version[..]].concat())?;
        let packed = format!("{destination}/mcp-operator-0.99.0.tgz");
        context.stage.install_chart(&packed, images, &["--set=logging.level=debug"])
    })?;
    // The new operator has looked at every server once it does what is asked of one.
    context.patch("one", &json!({"spec": {"service": {"annotations": {"seen": "by-the-new-one"}}}}))?;
    context
        .eventually("the new operator works", async || {
            let service = context.kubectl(&["get", "service", "one", "-o", "jsonpath={.metadata.annotations.seen}"])?;
            Ok((service == "by-the-new-one").then_some(()))
        })
        .await?;
    for server in SERVERS {
        context.ready(server).await?;
    }
    ensure!(pods(context).await? == before, "an upgrade of the operator replaced pods of servers");

    let broken = Images { server: "mcp-server:not-there".to_owned(), ..images.clone() };
    block_in_place(|| context.stage.install(&broken, &[ONE_AT_A_TIME]))?;
    context
        .eventually("one server has tried the new runtime, and two wait for a person", async || {
            let mut halted = 0;
            for server in SERVERS {
                let server = context.server(server).await?;
                let programmed = condition_of(&server, "Programmed").map(|condition| condition.message.clone());
                halted += usize::from(programmed.is_some_and(|message| message.contains("halted")));
            }
            Ok((halted == 2).then_some(()))
        })
        .await?;
    let kept = pods(context).await?;
    ensure!(
        before.iter().all(|pod| kept.contains(pod)),
        "pods that served were ended for a runtime that does not start"
    );
    ensure!(kept.len() == before.len() + 1, "more than one server has tried it: {kept:?}");

    let newer = block_in_place(|| images::load_server_again(cluster, images))?;
    block_in_place(|| context.stage.install(&newer, &[ONE_AT_A_TIME]))?;
    context
        .eventually("every server has the newer runtime", async || {
            let (have, under_way) = progress(context, &newer.server).await?;
            ensure!(under_way <= 1, "{under_way} servers were being upgraded at the same time");
            Ok((have == SERVERS.len() && under_way == 0).then_some(()))
        })
        .await?;
    for server in SERVERS {
        context.ready(server).await?;
    }
    let after = pods(context).await?;
    ensure!(after.iter().all(|pod| !before.contains(pod)), "a pod still has the runtime of before");
    Ok(())
}

/// How many servers have that image, and how many of them are not done with it.
async fn progress(context: &Context, image: &str) -> Result<(usize, usize)> {
    let deployments = context.api::<Deployment>().list(&ListParams::default()).await?;
    let (mut have, mut under_way) = (0, 0);
    for deployment in &deployments {
        let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let mut containers = template.into_iter().flat_map(|spec| &spec.containers);
        if containers.all(|container| container.image.as_deref() != Some(image)) {
            continue;
        }
        have += 1;
        let status = deployment.status.clone().unwrap_or_default();
        let seen = status.observed_generation == deployment.metadata.generation;
        let done = seen && status.ready_replicas == Some(1) && status.replicas == Some(1);
        under_way += usize::from(!done || status.updated_replicas != Some(1));
    }
    ensure!(deployments.iter().all(|deployment| SERVERS.contains(&deployment.name_any().as_str())));
    Ok((have, under_way))
}

/// The uids of all servers' pods.
async fn pods(context: &Context) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for server in SERVERS {
        all.extend(context.pod_uids(server).await?);
    }
    Ok(all)
}
