//! Pod Security: every pod that the operator makes is admitted where only `restricted` pods are, without a warning.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{Context, Done};

pub async fn builtin_pods_are_admitted_without_a_warning(context: &Context) -> Result<Done> {
    context.serve("plain", "backend: {builtin: {}}\n")?;
    context.ready("plain").await?;
    without_a_warning(context, "plain").await
}

pub async fn container_pods_are_admitted_without_a_warning(context: &Context) -> Result<Done> {
    context.serve("everything", &everything(context.stage.everything().await?))?;
    let server = context.ready("everything").await?;
    let status = server.status.unwrap_or_default();
    let tools = status.tools.context("status.tools")?;
    ensure!(tools.count > 5, "the official server has more than {} tools", tools.count);
    without_a_warning(context, "everything").await
}

/// The official server as a backend.
pub fn everything(image: &str) -> String {
    format!("backend: {{container: {{image: \"{image}\", imagePullPolicy: IfNotPresent, port: 3001}}}}\n")
}

/// Pods run, so they were admitted. The warnings went to the ReplicaSet controller, who keeps them to itself: so the
/// same Deployment, and a pod made of its template, are offered once more.
async fn without_a_warning(context: &Context, name: &str) -> Result<Done> {
    let mut deployment: Deployment = context.api().get(name).await?;
    let template = deployment.spec.as_ref().context("spec")?.template.clone();
    deployment.metadata.name = Some(format!("{name}-again"));
    deployment.metadata.resource_version = None;
    deployment.metadata.uid = None;
    deployment.metadata.managed_fields = None;
    deployment.status = None;
    let namespace = &context.namespace;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All");
    offer(context, &path, serde_json::to_vec(&deployment)?).await?;

    let pod = Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, status: None };
    let mut pod = serde_json::to_value(pod)?;
    pod["metadata"]["generateName"] = json!("again-");
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    offer(context, &path, serde_json::to_vec(&pod)?).await?;
    Ok(Done::Passed)
}

async fn offer(context: &Context, path: &str, object: Vec<u8>) -> Result<()> {
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(kube::client::Body::from(object))?;
    let response = context.client.send(request).await?;
    let warnings: Vec<_> = response.headers().get_all(http::header::WARNING).iter().collect();
    ensure!(response.status().is_success(), "{path}: {}", response.status());
    ensure!(warnings.is_empty(), "{path}: {warnings:?}");
    Ok(())
}
