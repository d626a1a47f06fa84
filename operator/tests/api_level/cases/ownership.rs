//! What is ours stays as we want it; what is not is not touched.

use super::*;

pub async fn a_foreign_deployment_is_left_alone_and_reported(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("foreign")?;
    let foreign: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "demo"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "other"}},
            "template": {"metadata": {"labels": {"app": "other"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        }
    }))?;
    let before = space.api::<Deployment>().create(&PostParams::default(), &foreign).await?;
    space.serve("demo", builtin()).await?;
    let conflict = space.condition("demo", "Programmed", |condition| condition.reason == "Conflict").await?;
    ensure!(conflict.status == "False" && conflict.message.contains("Deployment demo"), "{conflict:?}");
    let events = eventually("there is a warning", async || {
        let events = space.api::<Event>().list(&ListParams::default()).await?.items;
        Ok(events.into_iter().find(|event| event.reason.as_deref() == Some("Conflict")))
    });
    ensure!(events.await?.type_.as_deref() == Some("Warning"));
    let after = space.api::<Deployment>().get("demo").await?;
    ensure!(after.spec == before.spec && after.owner_references().is_empty(), "it was changed");
    ensure!(after.managed_fields().iter().all(|entry| entry.manager.as_deref() != Some("mcp-operator")));
    space.api::<Deployment>().delete("demo", &DeleteParams::default()).await?;
    space.programmed("demo").await.context("it goes on once the name is free")
}

pub async fn a_hand_edit_is_repaired(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("edited")?;
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 2})).await?;
    space.programmed("demo").await?;
    merge::<Deployment>(&space, "demo", json!({"spec": {"replicas": 7}})).await?;
    let replicas =
        async || Ok::<_, anyhow::Error>(space.api::<Deployment>().get("demo").await?.spec.unwrap_or_default().replicas);
    eventually("the replicas are ours again", async || Ok((replicas().await? == Some(2)).then_some(()))).await?;
    merge::<ConfigMap>(&space, "demo-live", json!({"data": {"live.yaml": "formatVersion: 9"}})).await?;
    eventually("the configuration is ours again", async || {
        let data = space.api::<ConfigMap>().get("demo-live").await?.data.unwrap_or_default();
        Ok(data["live.yaml"].contains("formatVersion: 1").then_some(()))
    })
    .await?;
    space.api::<Service>().delete("demo", &DeleteParams::default()).await?;
    space.exists::<Service>("demo").await.map(drop)
}

pub async fn a_removed_label_is_restored(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("label")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    // With this label the object also leaves the operator's watch.
    let removed = json!({"metadata": {"labels": {"mcp-operator.dev/owner-uid": null}}});
    merge::<Service>(&space, "demo", removed).await?;
    eventually("the label is back", async || {
        let service = space.api::<Service>().get("demo").await?;
        Ok(service.labels().contains_key("mcp-operator.dev/owner-uid").then_some(()))
    })
    .await
}

pub async fn what_others_add_stays_and_costs_nothing(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("added")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    sleep(Duration::from_secs(3)).await;
    let mut audit = stage.audit()?;
    let injected = json!({
        "metadata": {"labels": {"team": "platform"}, "annotations": {"policy": "checked"}},
        "spec": {"template": {"metadata": {"annotations": {"injected": "yes"}}}}
    });
    merge::<Deployment>(&space, "demo", injected).await?;
    let sidecar = json!({"spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}}});
    let params = PatchParams { field_manager: Some("injector".to_owned()), ..PatchParams::default() };
    space.api::<Deployment>().patch("demo", &params, &Patch::Strategic(sidecar)).await?;
    sleep(Duration::from_secs(5)).await;
    let deployment = space.api::<Deployment>().get("demo").await?;
    ensure!(deployment.labels().get("team").map(String::as_str) == Some("platform"));
    let containers = deployment.spec.unwrap_or_default().template.spec.unwrap_or_default().containers;
    ensure!(containers.iter().any(|container| container.name == "proxy"), "the sidecar was taken out");
    let writes: Vec<_> = audit.of_operator()?.into_iter().filter(|request| request.contains("deployments")).collect();
    ensure!(writes.iter().all(|request| !request.starts_with("patch")), "{writes:?}");
    Ok(())
}

pub async fn a_field_that_somebody_fights_for_is_contested(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("contested")?;
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 2})).await?;
    space.programmed("demo").await?;
    for round in 0..3 {
        merge::<Deployment>(&space, "demo", json!({"spec": {"replicas": 7 + round}})).await?;
        eventually("it is repaired", async || {
            let replicas = space.api::<Deployment>().get("demo").await?.spec.unwrap_or_default().replicas;
            Ok((replicas == Some(2)).then_some(()))
        })
        .await?;
    }
    let contested = space.condition("demo", "Programmed", |condition| condition.reason == "FieldContested").await?;
    ensure!(contested.message.contains(".spec.replicas"), "{contested:?}");
    merge::<Deployment>(&space, "demo", json!({"spec": {"replicas": 9}})).await?;
    sleep(Duration::from_secs(5)).await;
    let replicas = space.api::<Deployment>().get("demo").await?.spec.unwrap_or_default().replicas;
    ensure!(replicas == Some(9), "the operator fights on");
    Ok(())
}

pub async fn a_suspended_server_is_left_alone(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("suspended")?;
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 2})).await?;
    space.programmed("demo").await?;
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 3, "suspend": true})).await?;
    let suspended = space.condition("demo", "Programmed", |condition| condition.reason == "Suspended").await?;
    ensure!(suspended.status == "False", "the objects differ from the spec: {suspended:?}");
    let replicas = space.api::<Deployment>().get("demo").await?.spec.unwrap_or_default().replicas;
    ensure!(replicas == Some(2), "it was written to");
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 3})).await?;
    space.programmed("demo").await?;
    let replicas = space.api::<Deployment>().get("demo").await?.spec.unwrap_or_default().replicas;
    ensure!(replicas == Some(3));
    Ok(())
}
