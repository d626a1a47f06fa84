//! What a server refers to.

use super::*;

pub async fn a_missing_secret_is_named_and_its_appearance_is_enough(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("missing")?;
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
    let space = stage.namespace("deleted")?;
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
    let space = stage.namespace("class")?;
    space.serve("demo", exposed(stage)).await?;
    if stage.scope == Scope::Cluster {
        let missing = space.condition("demo", "Accepted", |condition| condition.status == "False").await?;
        ensure!(missing.message.contains("IngressClass nginx"), "{missing:?}");
    }
    class(stage).await?;
    space.programmed("demo").await?;
    space.exists::<Ingress>("demo").await.map(drop)
}

/// Roles of single namespaces cannot give access to what is in none.
pub async fn without_a_class_to_look_up_the_profile_is_asked_for(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("profile")?;
    let mut spec = exposed(stage);
    spec["expose"]["ingress"] = json!({"className": "nginx"});
    space.serve("demo", spec).await?;
    if stage.scope == Scope::Cluster {
        return space.programmed("demo").await;
    }
    let asked = space.condition("demo", "Accepted", |condition| condition.reason == "ProfileRequired").await?;
    ensure!(asked.message.contains("spec.expose.ingress.profile"), "{asked:?}");
    space.serve("demo", exposed(stage)).await?;
    space.programmed("demo").await
}

/// The Gateway API is installed after the operator.
pub async fn an_api_that_comes_later_completes_the_route(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("gateway")?;
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

/// cert-manager and the Prometheus operator, of which only the definitions are here: of these kinds, as little is written
/// and as much is repaired as of all others. Real certificates are made on the node.
pub async fn what_others_define_is_made_where_it_is_defined(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("defined")?;
    let names = [("cert-manager.io", "v1", "Certificate"), ("monitoring.coreos.com", "v1", "ServiceMonitor")];
    for (group, version, kind) in names {
        let plural = format!("{}s", kind.to_lowercase());
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": anything}}],
            },
        });
        stage.level.kubectl_with_input(&["apply", "-f", "-"], &definition.to_string())?;
    }
    let spec = json!({
        "backend": {"builtin": {}}, "observability": {"metrics": {"serviceMonitor": {}}},
        "tls": {"secretName": "demo-tls", "issuerRef": {"name": "internal"}},
    });
    space.serve("demo", spec).await?;
    for (group, version, kind) in names {
        let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
        let objects = Api::<DynamicObject>::namespaced_with(space.client(), &space.namespace, &resource);
        let made = async || Ok(objects.get_opt("demo").await?);
        let first = eventually(&format!("{kind} demo is made"), made).await?;
        objects.delete("demo", &DeleteParams::default()).await?;
        eventually(&format!("{kind} demo is made anew"), async || {
            Ok(made().await?.filter(|now| now.uid() != first.uid()))
        })
        .await?;
    }
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    for (group, _, kind) in names {
        let plural = format!("{}s.{group}", kind.to_lowercase());
        let left = stage.level.kubectl(&["get", &plural, "--namespace", "defined", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
    }
    Ok(())
}
