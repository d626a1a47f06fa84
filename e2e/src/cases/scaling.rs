//! The number of pods: by the scale subresource, and by an autoscaler.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::json;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

use super::{Context, Done};
use crate::client::Replicas;
use crate::client::mcp::Caller;
use crate::product::addons;

pub async fn kubectl_scales_a_server(context: &Context) -> Result<Done> {
    context.serve("elastic", &format!("backend: {{builtin: {{}}}}\n{}", context.exposed_to_everybody()))?;
    context.ready("elastic").await?;

    context.kubectl(&["scale", "mcp/elastic", "--replicas=2"])?;
    reaches(context, "elastic", 2).await?;
    context.ready("elastic").await?;

    context.kubectl(&["scale", "mcp/elastic", "--replicas=0"])?;
    reaches(context, "elastic", 0).await?;
    let stopped = context.condition("elastic", "Available", |condition| condition.reason == "ScaledToZero").await?;
    let address = stopped.status.and_then(|status| status.address);
    ensure!(address.is_some_and(|address| address.url == context.url()), "a stopped server keeps its address");

    context.kubectl(&["scale", "mcp/elastic", "--replicas=1"])?;
    reaches(context, "elastic", 1).await?;
    context.ready("elastic").await?;
    context
        .eventually("the ingress knows the new pod", async || {
            Ok((context.caller().list().await?.status == StatusCode::OK).then_some(()))
        })
        .await?;
    Ok(Done::Passed)
}

/// By what metrics-server measures of the runtime under real calls; and the number that it has come to is kept when the
/// server takes it over.
pub async fn an_autoscaler_follows_the_load_and_hands_over_what_it_has(context: &Context) -> Result<Done> {
    block_in_place(|| addons::metrics_server(&context.stage.cluster))?;
    // As many pods as the load asks for, and no waiting for calmer times.
    let autoscaling = json!({
        "minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 100,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    context.serve("busy", &format!("replicas: 2\nbackend: {{builtin: {{}}}}\n{}", context.exposed_to_everybody()))?;
    context.served("busy").await?;
    reaches(context, "busy", 2).await?;
    let recorded = Replicas::of(context.api());

    let load = load(&context.caller());
    context.patch("busy", &json!({"spec": {"autoscaling": autoscaling}}))?;
    reaches(context, "busy", 3).await.context("the autoscaler adds a pod under load")?;
    let autoscaler: HorizontalPodAutoscaler = context.api().get("busy").await?;
    let measured = autoscaler.status.and_then(|status| status.current_metrics).unwrap_or_default();
    let measured = measured.first().and_then(|metric| metric.container_resource.as_ref());
    ensure!(measured.is_some_and(|metric| metric.container == "mcp-server"), "{measured:?}");

    context.patch("busy", &json!({"spec": {"autoscaling": null, "replicas": 3}}))?;
    context
        .eventually("the autoscaler is gone", async || {
            Ok(context.api::<HorizontalPodAutoscaler>().get_opt("busy").await?.is_none().then_some(()))
        })
        .await?;
    context.ready("busy").await?;
    let numbers = recorded.seen();
    ensure!(numbers.is_sorted() && numbers.last() == Some(&3), "pods were taken away under load: {numbers:?}");

    drop(load);
    context.patch("busy", &json!({"spec": {"autoscaling": autoscaling}}))?;
    reaches(context, "busy", 1).await.context("the autoscaler takes pods away without load")?;
    context.ready("busy").await?;
    Ok(Done::Passed)
}

/// Some hundred calls a second until it is dropped: enough for a request of 10m, and not all of the machine.
fn load(caller: &Caller) -> JoinSet<()> {
    let call = |caller: Caller| async move {
        loop {
            // Pods come and go: what is refused meanwhile is none of this case's questions.
            let _ = caller.list().await;
            sleep(Duration::from_millis(10)).await;
        }
    };
    (0..4).map(|_| call(caller.clone())).collect()
}

async fn reaches(context: &Context, name: &str, replicas: i32) -> Result<()> {
    context
        .eventually(&format!("the status of {name} has {replicas} replicas, all ready"), async || {
            let status = context.server(name).await?.status.unwrap_or_default();
            Ok((status.replicas == replicas && status.ready_replicas == replicas).then_some(()))
        })
        .await
}
