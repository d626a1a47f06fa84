//! What a server refers to.

use super::*;

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

/// The Gateway API is installed after the operator.
pub async fn an_api_that_comes_later_completes_the_route(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("gateway").await?;
    let spec = json!({
        "backend": {"builtin": {}}, "auth": {"anonymous": "Allow"},
        "expose": {"hosts": ["g.example"], "gateway": {"parentRefs": [{"name": "public", "namespace": "gateways"}]}},
    });
    space.serve("demo", spec).await?;
    let missing = space.condition("demo", "Accepted", |condition| condition.status == "False").await?;
    ensure!(missing.message.contains("install the Gateway API"), "{missing:?}");
    // Upstream's own: what it does not allow would be refused here as it is in its users' clusters.
    let definition = tokio::task::spawn_blocking(|| {
        let tools = Tools::of(&["gateway-api"])?;
        tools.program("gateway-api", "gateway.networking.k8s.io_httproutes.yaml")
    });
    stage.level.kubectl(&["apply", "--server-side", "-f", &definition.await??.to_string_lossy()])?;
    space.programmed("demo").await?;
    let route = space.exists::<HttpRoute>("demo").await?;
    ensure!(route.spec.hostnames == ["g.example"] && route.spec.rules[0].backend_refs[0].name == "demo", "{route:?}");
    space.condition("demo", "Exposed", |condition| condition.reason == "RoutePending").await?;
    let said = |status: &str| {
        json!({"status": {"parents": [{
            "parentRef": {"name": "public", "namespace": "gateways"}, "controllerName": "example.com/test",
            "conditions": [{
                "type": "Accepted", "status": status, "reason": "NotAllowedByListeners", "message": "no listener",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        }]}})
    };
    let routes = space.api::<HttpRoute>();
    routes.patch_status("demo", &PatchParams::default(), &Patch::Merge(said("False"))).await?;
    let refused = space.condition("demo", "Exposed", |condition| condition.reason == "RouteRefused").await?;
    ensure!(refused.message.contains("NotAllowedByListeners: no listener"), "{refused:?}");
    routes.patch_status("demo", &PatchParams::default(), &Patch::Merge(said("True"))).await?;
    space.condition("demo", "Exposed", |condition| condition.status == "True").await?;
    space.serve("demo", builtin()).await?;
    space.gone::<HttpRoute>("demo").await
}
