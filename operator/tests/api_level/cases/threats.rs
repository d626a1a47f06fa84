//! What somebody could make of the operator who may only write McpServers: see docs/security.md.

use std::collections::BTreeSet;

use super::*;

/// Each field that names another object, with a name that would lead into another namespace.
const ELSEWHERE: &[&str] = &[
    r#"{"backend": {"builtin": {}}, "redis": {"urlSecretRef": {"name": "kube-system/token", "key": "url"}}}"#,
    r#"{"backend": {"builtin": {}}, "redis": {"urlSecretRef": {"name": "../token", "key": "url"}}}"#,
    r#"{"backend": {"builtin": {}}, "pod": {"serviceAccountName": "kube-system/admin"}}"#,
    r#"{"backend": {"container": {"image": "a/b:1", "envFrom": [{"secretRef": {"name": "kube-system/token"}}]}}}"#,
    r#"{"backend": {"container": {"image": "a/b:1", "envFrom": [{"configMapRef": {"name": "kube-system/map"}}]}}}"#,
    r#"{"backend": {"builtin": {}}, "auth": {"issuers": [{"url": "https://i.example", "caBundle": {"secretKeyRef": {"name": "kube-system/ca", "key": "ca.crt"}}}]}}"#,
    r#"{"backend": {"builtin": {}}, "auth": {"anonymous": "Allow"}, "expose": {"hosts": ["a.example"], "tls": {"secretName": "kube-system/tls"}, "ingress": {"className": "nginx"}}}"#,
];

/// Threat 3: references stay in their namespace, whatever they are called.
pub async fn no_reference_leads_into_another_namespace(stage: &mut Stage) -> Result<()> {
    class(stage).await?;
    let space = stage.namespace("elsewhere")?;
    for (index, spec) in ELSEWHERE.iter().enumerate() {
        let name = format!("demo-{index}");
        let server = match space.serve(&name, serde_json::from_str(spec)?).await {
            // The API server knows that this is no name.
            Err(_) => continue,
            Ok(server) => server,
        };
        let told = eventually(&format!("{spec} is refused"), async || {
            let status = space.api::<McpServer>().get(&name).await?.status.unwrap_or_default();
            let refused = status.conditions.into_iter().find(|condition| {
                condition.status == "False" && ["Accepted", "Programmed"].contains(&condition.type_.as_str())
            });
            Ok(refused)
        })
        .await?;
        ensure!(server.metadata.namespace.as_deref() == Some("elsewhere"), "{told:?}");
        ensure!(space.api::<Deployment>().get_opt(&name).await?.is_none(), "{spec}: pods were made");
        space.api::<McpServer>().delete(&name, &DeleteParams::default()).await?;
    }
    // A namespace beside the name is no field of ours.
    let beside = json!({"backend": {"builtin": {}}, "redis": {"urlSecretRef": {"name": "token", "key": "url", "namespace": "kube-system"}}});
    let server = json!({"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": "beside"}, "spec": beside});
    let params = PatchParams::apply("test").force().validation_strict();
    let refused = space.api::<McpServer>().patch("beside", &params, &Patch::Apply(server)).await;
    ensure!(refused.is_err(), "namespace was taken as a field");
    Ok(())
}

/// Threat 4: labels by which Services, policies and the operator find pods are not the user's.
pub async fn the_labels_that_select_are_not_the_users(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("labels")?;
    let victim = space.serve("victim", builtin()).await?;
    space.programmed("victim").await?;
    let labels = json!({
        "app.kubernetes.io/name": "mcp-server", "app.kubernetes.io/instance": "victim",
        "mcp-operator.dev/owner-uid": victim.metadata.uid, "team": "a",
    });
    // Either the API server refuses them, or they are not what pods get.
    if space.serve("thief", json!({"backend": {"builtin": {}}, "pod": {"labels": labels}})).await.is_ok() {
        space.programmed("thief").await?;
        let template = space.api::<Deployment>().get("thief").await?.spec.context("spec")?.template;
        let labels = template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        ensure!(labels.get("app.kubernetes.io/instance").map(String::as_str) == Some("thief"), "{labels:?}");
        ensure!(labels.get("mcp-operator.dev/owner-uid") != victim.metadata.uid.as_ref(), "{labels:?}");
    }
    Ok(())
}

/// Threat 5, for every kind of child: what was there first stays as it is.
pub async fn no_object_of_somebody_else_is_adopted(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("adoption")?;
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": "demo"}, "spec": {"ports": [{"port": 1}]}}))?;
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "other"}}))?;
    let keys: Secret =
        serde_json::from_value(json!({"metadata": {"name": "third-keys"}, "stringData": {"session": "known"}}))?;
    space.api::<Service>().create(&PostParams::default(), &service).await?;
    space.api::<ServiceAccount>().create(&PostParams::default(), &account).await?;
    space.api::<Secret>().create(&PostParams::default(), &keys).await?;
    for (server, child) in [("demo", "Service demo"), ("other", "ServiceAccount other"), ("third", "Secret third-keys")]
    {
        space.serve(server, builtin()).await?;
        let conflict = space.condition(server, "Programmed", |condition| condition.reason == "Conflict").await?;
        ensure!(conflict.message.contains(child), "{conflict:?}");
    }
    ensure!(space.api::<ServiceAccount>().get("other").await?.owner_references().is_empty());
    ensure!(space.api::<Secret>().get("third-keys").await?.owner_references().is_empty());
    ensure!(space.api::<Deployment>().get_opt("third").await?.is_none(), "pods with keys that somebody else knows");
    for server in ["demo", "other", "third"] {
        space.api::<McpServer>().delete(server, &DeleteParams::default()).await?;
    }
    Ok(())
}

/// Threat 2: the table, by which the chart's roles are made, is what the operator asked for in all of these cases; and
/// the roles themselves denied nothing.
pub async fn what_the_table_grants_is_asked_for_and_nothing_else(stage: &mut Stage) -> Result<()> {
    let granted: BTreeSet<(String, String)> = mcp_operator::rbac::rules()
        .filter(|rule| stage.scope == Scope::Cluster || !mcp_operator::rbac::CLUSTER.contains(rule))
        .flat_map(|rule| rule.resources.iter().map(move |resource| (format!("{}/{resource}", rule.group), rule.verbs)))
        .flat_map(|(resource, verbs)| verbs.iter().map(move |verb| (resource.clone(), (*verb).to_owned())))
        .collect();
    let used = stage.verbs_of_operator()?;
    let beyond: Vec<_> = used.difference(&granted).collect();
    ensure!(beyond.is_empty(), "the operator used what its roles would not grant: {beyond:?}");
    let denied = stage.denied_to_operator()?;
    ensure!(denied.is_empty(), "the chart's roles denied:\n{}", denied.join("\n"));
    let unused: Vec<_> = granted.difference(&used).filter(|unused| !is_for_the_rare_case(&used, unused)).collect();
    ensure!(unused.is_empty(), "granted, and not used in a whole run: {unused:?}");
    Ok(())
}

/// What no request shows although it is needed, or shows only where something else went wrong before.
fn is_for_the_rare_case(used: &BTreeSet<(String, String)>, (resource, verb): &(String, String)) -> bool {
    let is_used = |resource: &str, verb: &str| used.contains(&(resource.to_owned(), verb.to_owned()));
    match verb.as_str() {
        // An apply that makes an object is one request, a patch, and needs both.
        "create" => is_used(resource, "patch"),
        // Whose an object is that has the name of a new child: one code for all kinds.
        "get" => is_used("/services", "get"),
        _ => false,
    }
}
