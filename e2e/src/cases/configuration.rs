//! A bad change never reaches running pods.

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use super::context::condition_of;
use super::{Context, Done};

pub async fn a_bad_image_leaves_the_running_pods_alone(context: &Context) -> Result<Done> {
    context.serve("steady", &format!("backend: {{builtin: {{}}}}\n{}", context.exposed_with_auth("user")))?;
    context.served("steady").await?;
    let pods = context.pod_uids("steady").await?;
    let caller = context.caller_with("user").await?;

    let image = json!({"image": "localhost/no-such-image:1", "imagePullPolicy": "Never"});
    context.patch("steady", &json!({"spec": {"runtime": image}}))?;
    let names_image = |message: &str| message.contains("no-such-image") || message.contains("ErrImageNeverPull");
    let server = context
        .condition("steady", "Ready", |condition| condition.status != "True" && names_image(&condition.message))
        .await
        .context("the reason of the failed roll-out should be in the conditions")?;
    ensure!(condition_of(&server, "Ready").is_some());
    let now = context.pod_uids("steady").await?;
    ensure!(pods.iter().all(|uid| now.contains(uid)), "the running pod was taken away for one that cannot start");
    caller.list().await?.expect(StatusCode::OK)?;

    context.patch("steady", &json!({"spec": {"runtime": {"image": null, "imagePullPolicy": null}}}))?;
    context.served("steady").await?;
    ensure!(context.pod_uids("steady").await? == pods, "the way back needed new pods");
    Ok(Done::Passed)
}

/// While the server is suspended nobody repairs the file: what refuses it is the runtime itself.
pub async fn a_broken_live_file_is_refused_by_running_pods(context: &Context) -> Result<Done> {
    context.serve("steady", &format!("backend: {{builtin: {{}}}}\n{}", context.exposed_with_auth("user")))?;
    context.served("steady").await?;
    let caller = context.caller_with("user").await?;
    let good = report(context).await?;
    ensure!(good["live"]["error"].is_null(), "{good}");

    context.patch("steady", &json!({"spec": {"suspend": true}}))?;
    // The operator must have seen it, or it repairs what comes next.
    context
        .eventually("the suspension is observed", async || {
            let server = context.server("steady").await?;
            let observed = server.status.as_ref().and_then(|status| status.observed_generation);
            Ok((observed == server.metadata.generation).then_some(()))
        })
        .await?;
    let broken = json!({"data": {"live.yaml": "formatVersion: 1\nauth: {issuers: [{url: 7, colour: red\n"}});
    context.kubectl(&["patch", "configmap", "steady-live", "--type=merge", "-p", &broken.to_string()])?;
    // The kubelet brings a changed ConfigMap to the pod within about a minute.
    let refused = context.eventually("the runtime reports the broken file", async || {
        let report = report(context).await?;
        Ok((!report["live"]["error"].is_null()).then_some(report))
    });
    let refused = refused.await?;
    ensure!(refused["live"]["digest"] == good["live"]["digest"], "the configuration in use changed: {refused}");
    context.caller().list().await?.expect(StatusCode::UNAUTHORIZED)?;
    caller.list().await?.expect(StatusCode::OK)?;

    context.patch("steady", &json!({"spec": {"suspend": false}}))?;
    context
        .eventually("the file is repaired", async || {
            Ok(report(context).await?["live"]["error"].is_null().then_some(()))
        })
        .await?;
    context.served("steady").await?;
    Ok(Done::Passed)
}

async fn report(context: &Context) -> Result<Value> {
    let pods = context.pods("steady").await?;
    let pod = pods.first().and_then(|pod| pod.metadata.name.as_deref()).context("no pod")?;
    let text = context.get_from_pod(pod, 9090, "/server").await?;
    serde_json::from_str(&text).with_context(|| format!("no report in {text:?}"))
}
