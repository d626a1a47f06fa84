//! One promise each.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use mcp_crds::McpServer;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stage::{Space, Stage, eventually};

fn builtin() -> Value {
    json!({"backend": {"builtin": {}}})
}

fn exposed() -> Value {
    json!({
        "backend": {"builtin": {}},
        "auth": {"anonymous": "Allow"},
        "expose": {"hosts": ["a.example"], "ingress": {"className": "nginx"}}
    })
}

fn with_redis() -> Value {
    json!({"backend": {"builtin": {}}, "redis": {"urlSecretRef": {"name": "late", "key": "url"}}})
}

async fn secret(space: &Space, name: &str) -> Result<()> {
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": name}, "stringData": {"url": "redis://x"}}))?;
    space.api::<Secret>().create(&PostParams::default(), &secret).await?;
    Ok(())
}

async fn class(stage: &Stage) -> Result<()> {
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}
    });
    let api = Api::<IngressClass>::all(stage.client.clone());
    api.patch("nginx", &PatchParams::apply("test"), &Patch::Apply(class)).await?;
    Ok(())
}

async fn merge<K>(space: &Space, name: &str, patch: Value) -> Result<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    Ok(space.api::<K>().patch(name, &params, &Patch::Merge(patch)).await?)
}

pub async fn a_server_becomes_its_children(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("children").await?;
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
    let space = stage.namespace("conditions").await?;
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

pub async fn a_missing_secret_is_named_and_its_appearance_is_enough(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("missing").await?;
    space.serve("demo", with_redis()).await?;
    let refused = space.condition("demo", "Accepted", |condition| condition.status == "False").await?;
    ensure!(refused.reason == "MissingReference", "{refused:?}");
    ensure!(refused.message.contains("Secret late") && refused.message.contains("url"), "{refused:?}");
    space.condition("demo", "Stalled", |condition| condition.status == "True").await?;
    ensure!(space.api::<Deployment>().get_opt("demo").await?.is_none());
    secret(&space, "late").await?;
    space.programmed("demo").await?;
    space.exists::<Deployment>("demo").await.map(drop)
}

pub async fn a_deleted_secret_leaves_the_children(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("deleted").await?;
    secret(&space, "late").await?;
    space.serve("demo", with_redis()).await?;
    space.programmed("demo").await?;
    space.api::<Secret>().delete("late", &DeleteParams::default()).await?;
    space.condition("demo", "Accepted", |condition| condition.reason == "MissingReference").await?;
    space.api::<Deployment>().get("demo").await?;
    Ok(())
}

pub async fn a_foreign_deployment_is_left_alone_and_reported(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("foreign").await?;
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
    let space = stage.namespace("edited").await?;
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
    let space = stage.namespace("label").await?;
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
    let space = stage.namespace("added").await?;
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
    let space = stage.namespace("contested").await?;
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

pub async fn the_route_goes_when_expose_does(stage: &mut Stage) -> Result<()> {
    class(stage).await?;
    let space = stage.namespace("route").await?;
    space.serve("demo", exposed()).await?;
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

pub async fn old_boot_configurations_go_with_their_replica_sets(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("boot").await?;
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

pub async fn a_suspended_server_is_left_alone(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("suspended").await?;
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

pub async fn a_class_that_appears_completes_the_route(stage: &mut Stage) -> Result<()> {
    let classes = Api::<IngressClass>::all(stage.client.clone());
    classes.delete("nginx", &DeleteParams::default()).await?;
    let space = stage.namespace("class").await?;
    space.serve("demo", exposed()).await?;
    let missing = space.condition("demo", "Accepted", |condition| condition.status == "False").await?;
    ensure!(missing.message.contains("IngressClass nginx"), "{missing:?}");
    class(stage).await?;
    space.programmed("demo").await?;
    space.exists::<Ingress>("demo").await.map(drop)
}

pub async fn the_keys_are_made_once(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("keys").await?;
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

pub async fn a_converged_operator_sends_nothing_and_a_restart_writes_only_the_lease(stage: &mut Stage) -> Result<()> {
    // The servers of all earlier cases are there: converged, waiting, in conflict with a person. Those that somebody
    // fights over are asked about from time to time; they go first.
    for gone in ["contested", "foreign"] {
        Api::<McpServer>::namespaced(stage.client.clone(), gone).delete("demo", &DeleteParams::default()).await?;
    }
    sleep(Duration::from_secs(15)).await;
    let mut audit = stage.audit()?;
    sleep(Duration::from_secs(60)).await;
    let requests = audit.of_operator()?;
    ensure!(
        requests.iter().any(|request| request.ends_with("leases mcp-operator")),
        "not even the lease: {requests:?}"
    );
    let others: Vec<_> = requests.iter().filter(|request| !is_quiet(request)).collect();
    ensure!(others.is_empty(), "in 60 s: {others:?}");

    stage.stop_operator().await?;
    let lease = Api::<Lease>::namespaced(stage.client.clone(), "default").get("mcp-operator").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
    ensure!(holder.is_empty(), "the lease is still held by {holder}");
    audit.of_operator()?;
    stage.start_operator()?;
    sleep(Duration::from_secs(20)).await;
    let requests = audit.of_operator()?;
    ensure!(requests.iter().any(|request| request.starts_with("list mcpservers")), "it has not started: {requests:?}");
    let writes: Vec<_> = requests.iter().filter(|request| is_write(request) && !request.contains(" leases ")).collect();
    ensure!(writes.is_empty(), "after a restart: {writes:?}");
    Ok(())
}

fn is_quiet(request: &str) -> bool {
    request.contains(" leases ") || request.starts_with("watch ")
}

fn is_write(request: &str) -> bool {
    ["create ", "update ", "patch ", "delete "].iter().any(|verb| request.starts_with(verb))
}

pub async fn a_second_operator_waits_for_the_lease(stage: &mut Stage) -> Result<()> {
    let mut second = Command::new(env!("CARGO_BIN_EXE_mcp-operator"))
        .args(["--probe-via=none", "--health-port=0", "--metrics-port=0", "--lease-namespace=default"])
        .env("KUBECONFIG", stage.level.kubeconfig())
        .stderr(Stdio::null())
        .spawn()?;
    let api = Api::<Lease>::namespaced(stage.client.clone(), "default");
    let holder = async || {
        let spec = api.get("mcp-operator").await?.spec.unwrap_or_default();
        Ok::<_, anyhow::Error>(spec.holder_identity.unwrap_or_default())
    };
    let first = holder().await?;
    sleep(Duration::from_secs(8)).await;
    let after = holder().await;
    stage.stop_operator().await?;
    let taken = eventually("the second takes over", async || {
        let now = holder().await?;
        Ok((!now.is_empty() && now != first).then_some(()))
    })
    .await;
    second.kill()?;
    second.wait()?;
    ensure!(after? == first, "two leaders");
    taken?;
    // Killed, it could not give the lease back: its silence is waited for.
    stage.start_operator()?;
    let space = stage.namespace("takeover").await?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await
}

pub async fn children_go_with_their_server(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("cascade").await?;
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
