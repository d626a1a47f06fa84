//! The scale subresource.

use anyhow::{Result, ensure};
use http::StatusCode;

use super::{Context, Done};

pub async fn kubectl_scales_a_server(context: &Context) -> Result<Done> {
    context.serve("elastic", &format!("backend: {{builtin: {{}}}}\n{}", context.exposed_to_everybody()))?;
    context.ready("elastic").await?;

    context.kubectl(&["scale", "mcp/elastic", "--replicas=2"])?;
    reaches(context, 2).await?;
    context.ready("elastic").await?;

    context.kubectl(&["scale", "mcp/elastic", "--replicas=0"])?;
    reaches(context, 0).await?;
    let stopped = context.condition("elastic", "Available", |condition| condition.reason == "ScaledToZero").await?;
    let address = stopped.status.and_then(|status| status.address);
    ensure!(address.is_some_and(|address| address.url == context.url()), "a stopped server keeps its address");

    context.kubectl(&["scale", "mcp/elastic", "--replicas=1"])?;
    reaches(context, 1).await?;
    context.ready("elastic").await?;
    context
        .eventually("the ingress knows the new pod", async || {
            Ok((context.caller().list().await?.status == StatusCode::OK).then_some(()))
        })
        .await?;
    Ok(Done::Passed)
}

async fn reaches(context: &Context, replicas: i32) -> Result<()> {
    context
        .eventually(&format!("the status has {replicas} replicas, all ready"), async || {
            let status = context.server("elastic").await?.status.unwrap_or_default();
            Ok((status.replicas == replicas && status.ready_replicas == replicas).then_some(()))
        })
        .await
}
