//! What a server becomes, and what goes with it.

use e2e::client::Replicas;

use super::*;

pub async fn a_server_becomes_its_children(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("children")?;
    let server = space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let deployment = space.exists::<Deployment>("demo").await?;
    for owner in [
        space.exists::<ServiceAccount>("demo").await?.owner_references().to_vec(),
        space.exists::<ConfigMap>("demo-live").await?.owner_references().to_vec(),
        space.exists::<Secret>("demo-keys").await?.owner_references().to_vec(),
        space.exists::<NetworkPolicy>("demo").await?.owner_references().to_vec(),
        space.exists::<Service>("demo").await?.owner_references().to_vec(),
        deployment.owner_references().to_vec(),
    ] {
        ensure!(owner.len() == 1 && Some(&owner[0].uid) == server.metadata.uid.as_ref(), "{owner:?}");
    }
    ensure!(space.api::<Ingress>().get_opt("demo").await?.is_none());
    let managers: Vec<_> = deployment.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect();
    ensure!(managers.contains(&"mcp-operator".to_owned()), "{managers:?}");
    Ok(())
}

pub async fn every_condition_is_there_from_the_first_write(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("conditions")?;
    space.serve("demo", builtin()).await?;
    let status =
        eventually("there is a status", async || Ok(space.api::<McpServer>().get("demo").await?.status)).await?;
    let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    for kind in ["Accepted", "Programmed", "Available", "Exposed", "Verified", "Ready"] {
        ensure!(types.contains(&kind), "{types:?}");
    }
    ensure!(status.conditions.iter().all(|condition| condition.observed_generation == Some(1)));
    ensure!(status.selector.is_some_and(|selector| selector.contains("app.kubernetes.io/instance=demo")));
    space.condition("demo", "Exposed", |condition| condition.reason == "ClusterInternal").await?;
    space.condition("demo", "Available", |condition| condition.status == "False").await?;
    space.condition("demo", "Reconciling", |condition| condition.status == "True").await?;
    Ok(())
}

pub async fn the_route_goes_when_expose_does(stage: &mut Stage) -> Result<()> {
    class(stage).await?;
    let space = stage.namespace("route")?;
    space.serve("demo", exposed(stage)).await?;
    space.programmed("demo").await?;
    let ingress = space.exists::<Ingress>("demo").await?;
    ensure!(
        ingress.annotations().contains_key("nginx.ingress.kubernetes.io/proxy-buffering"),
        "{:?}",
        ingress.annotations()
    );
    space.condition("demo", "Exposed", |condition| condition.reason == "AddressPending").await?;
    let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    space.api::<Ingress>().patch_status("demo", &PatchParams::default(), &Patch::Merge(address)).await?;
    let admitted = space.condition("demo", "Exposed", |condition| condition.status == "True").await?;
    ensure!(admitted.message.contains("192.0.2.7"), "{admitted:?}");
    space.serve("demo", builtin()).await?;
    space.gone::<Ingress>("demo").await?;
    space.condition("demo", "Exposed", |condition| condition.reason == "ClusterInternal").await.map(drop)
}

/// With the real controller-manager: its autoscaler keeps to the bounds without any metric.
pub async fn the_number_of_pods_is_handed_over_and_back_without_a_reset(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("autoscaled")?;
    let autoscaled = |fewest: i32| json!({"backend": {"builtin": {}}, "replicas": 3, "autoscaling": {"minReplicas": fewest, "maxReplicas": 6}});
    let replicas =
        async || Ok::<_, anyhow::Error>(space.api::<Deployment>().get("demo").await?.spec.unwrap_or_default().replicas);
    let recorded = Replicas::of(space.api());
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 3})).await?;
    space.programmed("demo").await?;
    space.serve("demo", autoscaled(2)).await?;
    space.programmed("demo").await?;
    space.exists::<HorizontalPodAutoscaler>("demo").await?;
    let managers = space.api::<Deployment>().get("demo").await?.managed_fields().to_vec();
    let holder = managers.iter().find(|entry| entry.manager.as_deref() == Some("mcp-operator-replicas"));
    ensure!(holder.is_some(), "{managers:?}");

    space.serve("demo", autoscaled(5)).await?;
    eventually("the autoscaler has five pods", async || Ok((replicas().await? == Some(5)).then_some(()))).await?;
    space.programmed("demo").await?;

    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 5})).await?;
    space.programmed("demo").await?;
    space.gone::<HorizontalPodAutoscaler>("demo").await?;
    sleep(Duration::from_secs(2)).await;
    let numbers = recorded.seen();
    ensure!(numbers == [3, 5], "{numbers:?}");
    // And it is ours again.
    merge::<Deployment>(&space, "demo", json!({"spec": {"replicas": 9}})).await?;
    eventually("it is repaired", async || Ok((replicas().await? == Some(5)).then_some(()))).await
}

pub async fn a_budget_comes_and_goes_with_the_second_pod(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("budget")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    ensure!(space.api::<PodDisruptionBudget>().get_opt("demo").await?.is_none());
    // As `kubectl scale` does it.
    let scale = json!({"spec": {"replicas": 2}});
    space.api::<McpServer>().patch_scale("demo", &PatchParams::default(), &Patch::Merge(scale)).await?;
    space.exists::<PodDisruptionBudget>("demo").await?;
    space.condition("demo", "Accepted", |condition| condition.reason == "SessionsInMemory").await?;
    let scale = json!({"spec": {"replicas": 1}});
    space.api::<McpServer>().patch_scale("demo", &PatchParams::default(), &Patch::Merge(scale)).await?;
    space.gone::<PodDisruptionBudget>("demo").await
}

pub async fn old_boot_configurations_go_with_their_replica_sets(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("boot")?;
    space.serve("demo", json!({"backend": {"builtin": {}}, "sessions": {"idleTimeoutSeconds": 100}})).await?;
    space.programmed("demo").await?;
    let boots = async || {
        let maps = space.api::<ConfigMap>().list(&ListParams::default()).await?.items;
        Ok::<_, anyhow::Error>(
            maps.iter().map(ResourceExt::name_any).filter(|name| name.contains("-boot-")).collect::<Vec<_>>(),
        )
    };
    let first = boots().await?;
    ensure!(first.len() == 1, "{first:?}");
    let sets = space.api::<k8s_openapi::api::apps::v1::ReplicaSet>();
    let first_set =
        eventually("there is a ReplicaSet", async || Ok(sets.list(&ListParams::default()).await?.items.pop())).await?;
    space.serve("demo", json!({"backend": {"builtin": {}}, "sessions": {"idleTimeoutSeconds": 200}})).await?;
    eventually("there are two ReplicaSets", async || {
        Ok((sets.list(&ListParams::default()).await?.items.len() == 2).then_some(()))
    })
    .await?;
    sleep(Duration::from_secs(3)).await;
    ensure!(boots().await?.len() == 2, "the old one is still mounted by its ReplicaSet");
    sets.delete(&first_set.name_any(), &DeleteParams::default()).await?;
    eventually("the old one is gone", async || {
        let left = boots().await?;
        Ok((left.len() == 1 && left != first).then_some(()))
    })
    .await
}

/// Children that the spec no longer asks for, and those that an operator of another version left under other names.
pub async fn what_is_ours_and_not_wanted_goes(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("unwanted")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let ours = space.api::<Deployment>().get("demo").await?.metadata;
    let metadata = json!({"name": "demo-old", "ownerReferences": ours.owner_references, "labels": ours.labels});
    let selector = json!({"app": "old"});
    let old = json!({"metadata": metadata, "spec": {
        "replicas": 0, "selector": {"matchLabels": selector},
        "template": {"metadata": {"labels": selector}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
    }});
    space.api::<Deployment>().create(&PostParams::default(), &serde_json::from_value(old)?).await?;
    let old = json!({"metadata": metadata, "spec": {"selector": selector, "ports": [{"port": 1}]}});
    space.api::<Service>().create(&PostParams::default(), &serde_json::from_value(old)?).await?;
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "given"}}))?;
    space.api::<ServiceAccount>().create(&PostParams::default(), &account).await?;
    let spec = json!({
        "backend": {"builtin": {}}, "networkPolicy": {"enabled": false}, "pod": {"serviceAccountName": "given"},
    });
    space.serve("demo", spec).await?;
    space.gone::<NetworkPolicy>("demo").await?;
    space.gone::<ServiceAccount>("demo").await?;
    space.gone::<Deployment>("demo-old").await?;
    space.gone::<Service>("demo-old").await?;
    space.programmed("demo").await
}

pub async fn the_keys_are_made_once(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("keys")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let before = space.exists::<Secret>("demo-keys").await?;
    let data = before.data.clone().unwrap_or_default();
    ensure!(data.len() == 3 && data.values().all(|key| key.0.len() == 32), "{:?}", data.keys());
    ensure!(data["session"] != data["peer"]);
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 2})).await?;
    space.programmed("demo").await?;
    let after = space.exists::<Secret>("demo-keys").await?;
    ensure!(after.metadata.resource_version == before.metadata.resource_version, "it was written again");
    Ok(())
}

pub async fn children_go_with_their_server(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("cascade")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    space.api::<McpServer>().delete("demo", &DeleteParams::default()).await?;
    space.gone::<Deployment>("demo").await?;
    space.gone::<Service>("demo").await?;
    space.gone::<ServiceAccount>("demo").await?;
    space.gone::<NetworkPolicy>("demo").await?;
    space.gone::<Secret>("demo-keys").await?;
    space.gone::<ConfigMap>("demo-live").await?;
    // The same name again, at once: nothing of the earlier server is taken over.
    let again = space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let deployment = space.exists::<Deployment>("demo").await?;
    ensure!(Some(&deployment.owner_references()[0].uid) == again.metadata.uid.as_ref());
    Ok(())
}
