//! What is not ours is not touched; what is ours stays as we want it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use super::{Context, Done};

const FOREIGN: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: taken, labels: {team: other}}
spec:
  replicas: 0
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec: {containers: [{name: main, image: localhost/other:1}]}
";

pub async fn a_foreign_deployment_of_the_same_name_is_left_alone(context: &Context) -> Result<Done> {
    context.apply(FOREIGN)?;
    let before: Deployment = context.api().get("taken").await?;
    context.serve("taken", "backend: {builtin: {}}\n")?;

    let server = context
        .condition("taken", "Programmed", |condition| {
            condition.status == "False" && condition.message.contains("Deployment")
        })
        .await?;
    let status = server.status.unwrap_or_default();
    let reason = status.conditions.iter().find(|condition| condition.type_ == "Programmed").context("Programmed")?;
    let event = context.eventually("there is an event", async || {
        let messages = context.events("taken", &reason.reason)?;
        Ok((!messages.is_empty()).then_some(messages))
    });
    ensure!(event.await?.contains("taken"), "the event names the object");

    let after: Deployment = context.api().get("taken").await?;
    ensure!(after.spec == before.spec && after.labels() == before.labels(), "the foreign Deployment was changed");
    ensure!(after.owner_references().is_empty(), "the foreign Deployment was adopted");
    let managers = after.managed_fields().iter().filter_map(|entry| entry.manager.as_deref());
    ensure!(managers.into_iter().all(|manager| manager != "mcp-operator"), "the operator wrote to it");

    // Deleting the server must not take the foreign object with it; making room for the server lets it come up.
    context.api::<Deployment>().delete("taken", &DeleteParams::default()).await?;
    context.ready("taken").await.context("the server should come up by itself once the name is free")?;
    Ok(Done::Passed)
}

pub async fn a_hand_edit_is_repaired(context: &Context) -> Result<Done> {
    context.serve("repaired", "backend: {builtin: {}}\n")?;
    context.ready("repaired").await?;
    let wanted = context.api::<Service>().get("repaired").await?.spec.unwrap_or_default().ports;

    let edit = json!([{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 1}]);
    context.kubectl(&["patch", "service", "repaired", "--type=json", "-p", &edit.to_string()])?;
    context
        .eventually("the Service's port is ours again", async || {
            let ports = context.api::<Service>().get("repaired").await?.spec.unwrap_or_default().ports;
            Ok((ports == wanted).then_some(()))
        })
        .await?;

    // A field that we do not own is not ours to repair.
    context.kubectl(&["annotate", "service", "repaired", "team.example.com/owner=weather"])?;
    context.kubectl(&["delete", "service", "repaired"])?;
    context.eventually("the Service is back", async || Ok(context.api::<Service>().get_opt("repaired").await?)).await?;
    context.ready("repaired").await?;
    Ok(Done::Passed)
}
