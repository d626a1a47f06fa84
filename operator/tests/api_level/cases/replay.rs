//! Scenarios that other operators of MCP servers test, with our resource: their inputs and what can be seen of them.

use super::*;

/// Every object that a server owns comes back when somebody deletes it.
pub async fn each_deleted_child_comes_back(stage: &mut Stage) -> Result<()> {
    class(stage).await?;
    let space = stage.namespace("deletions")?;
    let mut spec = exposed(stage);
    spec["replicas"] = json!(2);
    space.serve("demo", spec).await?;
    space.programmed("demo").await?;
    comes_back::<ServiceAccount>(&space, "demo").await?;
    comes_back::<ConfigMap>(&space, "demo-live").await?;
    comes_back::<Secret>(&space, "demo-keys").await?;
    comes_back::<NetworkPolicy>(&space, "demo").await?;
    comes_back::<Service>(&space, "demo").await?;
    comes_back::<PodDisruptionBudget>(&space, "demo").await?;
    comes_back::<Ingress>(&space, "demo").await?;
    comes_back::<Deployment>(&space, "demo").await?;
    space.programmed("demo").await
}

async fn comes_back<K>(space: &Space, name: &str) -> Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api = space.api::<K>();
    let before = api.get(name).await?.meta().uid.clone();
    api.delete(name, &DeleteParams::default()).await?;
    eventually(&format!("{} {name} is back", K::kind(&())), async || {
        let now = api.get_opt(name).await?.and_then(|object| object.meta().uid.clone());
        Ok((now.is_some() && now != before).then_some(()))
    })
    .await
}

/// Somebody sends traffic elsewhere, or to everybody.
pub async fn a_drifted_port_and_selector_are_repaired(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("drift")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let wanted = space.api::<Service>().get("demo").await?.spec.context("spec")?;
    merge::<Service>(&space, "demo", json!({"spec": {"selector": {"app.kubernetes.io/name": "evil"}}})).await?;
    let port = json!({"spec": {"ports": [{"name": "mcp", "port": 80, "protocol": "TCP", "targetPort": 1}]}});
    space.api::<Service>().patch("demo", &PatchParams::default(), &Patch::Strategic(port)).await?;
    eventually("port and selector are ours again", async || {
        let found = space.api::<Service>().get("demo").await?.spec.unwrap_or_default();
        Ok((found.selector == wanted.selector && found.ports == wanted.ports).then_some(()))
    })
    .await
}

/// Ten changes in a row: the last one counts, and nothing in between stays.
pub async fn rapid_updates_end_with_the_last_one(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("rapid")?;
    for round in 1..=10 {
        let image = format!("registry.example.com/server:{round}");
        let spec = json!({"backend": {"container": {"image": image}}, "replicas": round % 3 + 1});
        space.serve("demo", spec).await?;
    }
    space.programmed("demo").await?;
    let deployment = space.api::<Deployment>().get("demo").await?.spec.context("spec")?;
    let pod = deployment.template.spec.context("pod")?;
    let image = pod.init_containers.into_iter().flatten().find_map(|container| container.image);
    ensure!(image.as_deref() == Some("registry.example.com/server:10"), "{image:?}");
    ensure!(deployment.replicas == Some(2));
    eventually("one boot configuration of each that pods use", async || {
        let maps = space.api::<ConfigMap>().list(&ListParams::default()).await?.items;
        let boot = maps.iter().filter(|map| map.name_any().starts_with("demo-boot-")).count();
        // Of the old ReplicaSets three are kept.
        Ok((boot <= 4).then_some(()))
    })
    .await
}

/// The image is wrong, somebody scales, then the image is mended: both changes are there.
pub async fn a_bad_image_can_be_scaled_and_mended(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("badimage")?;
    let spec = |image: &str, replicas: i32| json!({"backend": {"container": {"image": image}}, "replicas": replicas});
    space.serve("demo", spec("registry.example.com/none:0", 1)).await?;
    space.programmed("demo").await?;
    let scale = json!({"spec": {"replicas": 3}});
    space.api::<McpServer>().patch_scale("demo", &PatchParams::default(), &Patch::Merge(scale)).await?;
    space.programmed("demo").await?;
    space.serve("demo", spec("registry.example.com/some:1", 3)).await?;
    space.programmed("demo").await?;
    let deployment = space.api::<Deployment>().get("demo").await?.spec.context("spec")?;
    let images: Vec<_> = deployment
        .template
        .spec
        .into_iter()
        .flat_map(|pod| pod.init_containers)
        .flatten()
        .filter_map(|c| c.image)
        .collect();
    ensure!(deployment.replicas == Some(3) && images == ["registry.example.com/some:1"], "{images:?}");
    Ok(())
}

/// The same name in two namespaces is two servers, and one goes without the other.
pub async fn the_same_name_in_two_namespaces_is_two_servers(stage: &mut Stage) -> Result<()> {
    let (one, other) = (stage.namespace("twin-one")?, stage.namespace("twin-other")?);
    for (space, replicas) in [(&one, 1), (&other, 2)] {
        space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": replicas})).await?;
        space.programmed("demo").await?;
    }
    let selector = async |space: &Space| {
        let service = space.api::<Service>().get("demo").await?;
        Ok::<_, anyhow::Error>(service.spec.unwrap_or_default().selector.unwrap_or_default())
    };
    ensure!(selector(&one).await? != selector(&other).await?, "the selectors have the UID");
    one.api::<McpServer>().delete("demo", &DeleteParams::default()).await?;
    one.gone::<Deployment>("demo").await?;
    other.programmed("demo").await?;
    other.api::<Deployment>().get("demo").await?;
    Ok(())
}

/// A child whose server went while nobody looked is the garbage collector's; one of an earlier server with this name
/// does not keep the new one from coming.
pub async fn orphans_do_not_keep_a_new_server_from_coming(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("orphans")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let orphan = DeleteParams { propagation_policy: Some(kube::api::PropagationPolicy::Orphan), ..Default::default() };
    space.api::<McpServer>().delete("demo", &orphan).await?;
    eventually("its children are nobody's", async || {
        let deployment = space.api::<Deployment>().get("demo").await?;
        Ok(deployment.owner_references().is_empty().then_some(()))
    })
    .await?;
    space.gone::<McpServer>("demo").await?;
    space.serve("demo", builtin()).await?;
    let conflict = space.condition("demo", "Programmed", |condition| condition.reason == "Conflict").await?;
    ensure!(conflict.message.contains("no owner reference"), "{conflict:?}");
    for kind in ["serviceaccount", "configmap", "secret", "networkpolicy", "service", "deployment"] {
        let ours = "app.kubernetes.io/instance=demo";
        stage.level.kubectl(&["delete", kind, "--namespace", "orphans", "--selector", ours, "--wait=true"])?;
    }
    space.programmed("demo").await.context("it goes on once the names are free")
}

/// Generated keys that somebody deletes are made anew, and are others.
pub async fn deleted_keys_are_made_anew(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("new-keys")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let before = space.exists::<Secret>("demo-keys").await?.data;
    comes_back::<Secret>(&space, "demo-keys").await?;
    ensure!(space.api::<Secret>().get("demo-keys").await?.data != before, "the same keys again");
    Ok(())
}

/// What is optional and is not there is not waited for; its appearance rolls the pods that use it.
pub async fn an_optional_reference_is_not_waited_for(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("optional")?;
    let spec = json!({"backend": {"container": {
        "image": "registry.example.com/server:1", "envFrom": [{"secretRef": {"name": "late", "optional": true}}],
    }}});
    space.serve("demo", spec).await?;
    space.programmed("demo").await?;
    let template = async || {
        let deployment = space.api::<Deployment>().get("demo").await?.spec.context("spec")?;
        Ok::<_, anyhow::Error>(deployment.template.metadata.and_then(|metadata| metadata.annotations))
    };
    let before = template().await?;
    secret(&space, "late").await?;
    eventually("the pods roll onto it", async || Ok((template().await? != before).then_some(()))).await
}
