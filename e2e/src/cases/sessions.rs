//! Sessions of the 2025 revisions outlive pods, where redis is.

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::context::PATIENCE;
use super::{Context, Done};

pub const REDIS: &str = "redis: {urlSecretRef: {name: mcp-secrets, key: redis-url}}\n";

/// Not one pod, which may not have been the session's: all of them, one after the other. Afterwards no process is left
/// that has seen `initialize`.
pub async fn a_session_survives_the_loss_of_its_pods(context: &Context) -> Result<Done> {
    context.redis()?;
    let spec = format!("replicas: 2\nbackend: {{builtin: {{}}}}\n{REDIS}{}", context.exposed_with_auth("user"));
    context.serve("kept", &spec)?;
    context.served("kept").await?;

    let caller = context.caller_with("user").await?;
    let session = caller.initialize().await?;
    session.call("add", json!({"a": 1, "b": 1})).await?;
    let before = context.pod_uids("kept").await?;
    for pod in context.pods("kept").await? {
        let name = pod.metadata.name.context("a pod has a name")?;
        context.kubectl(&["delete", "pod", &name, "--wait=true", &format!("--timeout={}s", PATIENCE.as_secs())])?;
        context
            .eventually("two pods are ready again", async || Ok((ready_pods(context).await? == 2).then_some(())))
            .await?;
        // Until the ingress knows the new pods there may be a moment without one; the session must not be lost by it.
        context
            .eventually("the session goes on", async || {
                let answer = session.answer("add", json!({"a": 20, "b": 22})).await?;
                match answer.status {
                    StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Ok(None),
                    _ => Ok(Some(answer.expect(StatusCode::OK)?)),
                }
            })
            .await?;
    }
    let after = context.pod_uids("kept").await?;
    ensure!(after.iter().all(|uid| !before.contains(uid)), "some pods are the old ones");
    let result = session.call("add", json!({"a": 20, "b": 22})).await?;
    ensure!(result.to_string().contains("42"), "{result}");

    // The session is its owner's: somebody else's token does not open it.
    let stranger = context.caller();
    let answer = session.used_by(&stranger).answer("add", json!({"a": 1, "b": 1})).await?;
    ensure!(answer.status == StatusCode::UNAUTHORIZED, "a caller without token got {}", answer.status);
    Ok(Done::Passed)
}

async fn ready_pods(context: &Context) -> Result<usize> {
    Ok(context.pods("kept").await?.iter().filter(|pod| is_ready(pod)).count())
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
