//! A definition that is newer or older than the operator.

use super::*;

const DEFINITION: &str = "mcpservers.mcp-operator.dev";

pub async fn a_newer_definition_does_no_harm(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("newer")?;
    space.serve("plain", builtin()).await?;
    space.programmed("plain").await?;
    let definitions = Api::<CustomResourceDefinition>::all(stage.level.client().await?);
    let today = redefine(&definitions, |schema| {
        schema["spec"]["properties"]["future"] = json!({"type": "string"});
        let stores = schema["spec"]["properties"]["sessions"]["properties"]["store"]["enum"].as_array_mut();
        stores.context("a list of stores")?.push(json!("Future"));
        Ok(())
    })
    .await?;
    let result = newer(&space).await;
    definitions_back(&definitions, today).await?;
    result
}

async fn newer(space: &Space) -> Result<()> {
    // A field that this operator does not know is not its business, and is not lost.
    let spec = json!({"backend": {"builtin": {}}, "future": "kept"});
    served(space, "more", &spec).await?;
    space.programmed("more").await?;
    let server = raw(space, "more").await?;
    ensure!(server["spec"]["future"] == "kept", "{server}");

    // A value that it does not know could mean anything: nothing is made of it, and it says so.
    let spec = json!({"backend": {"builtin": {}}, "sessions": {"store": "Future"}});
    served(space, "other", &spec).await?;
    let refused = eventually("the server that cannot be read says so", async || {
        let server = raw(space, "other").await?;
        let conditions = server["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.into_iter().find(|condition| condition["type"] == "Accepted"))
    })
    .await?;
    ensure!(refused["status"] == "False" && refused["reason"] == "InvalidSpec", "{refused}");
    ensure!(refused["message"].as_str().is_some_and(|message| message.contains("Future")), "{refused}");
    ensure!(space.api::<Deployment>().get_opt("other").await?.is_none(), "something was made of it");

    // The others go on.
    space.serve("plain", json!({"backend": {"builtin": {}}, "replicas": 2})).await?;
    space.programmed("plain").await
}

pub async fn an_older_definition_still_has_the_conditions(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("older")?;
    let definitions = Api::<CustomResourceDefinition>::all(stage.level.client().await?);
    let today = redefine(&definitions, |schema| {
        let status = schema["status"]["properties"].as_object_mut().context("a status")?;
        let gone = ["address", "keys", "backend"].into_iter().filter_map(|field| status.remove(field));
        ensure!(gone.count() == 3, "the definition has other fields than this case knows");
        Ok(())
    })
    .await?;
    let result = older(stage, &space).await;
    definitions_back(&definitions, today).await?;
    result
}

async fn older(stage: &Stage, space: &Space) -> Result<()> {
    // Until the API server goes by it.
    let probe = async || {
        space.serve("probe", builtin()).await?;
        space.programmed("probe").await?;
        let server = raw(space, "probe").await?;
        space.api::<McpServer>().delete("probe", &DeleteParams::default()).await?;
        Ok(server["status"]["address"].is_null().then_some(()))
    };
    eventually("the older definition is in force", probe).await?;

    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    sleep(Duration::from_secs(3)).await;
    let mut audit = stage.audit()?;
    // Something that wakes the operator, and changes nothing that it says.
    merge::<ConfigMap>(space, "demo-live", json!({"metadata": {"annotations": {"a": "b"}}})).await?;
    sleep(Duration::from_secs(5)).await;
    let writes = audit.of_operator()?.into_iter().filter(|request| request.starts_with("patch mcpservers"));
    let writes: Vec<_> = writes.collect();
    ensure!(writes.is_empty(), "what the API server does not keep is written again: {writes:?}");
    Ok(())
}

/// Changes the properties of the definition's schema; returns what it was.
async fn redefine(
    definitions: &Api<CustomResourceDefinition>,
    change: impl FnOnce(&mut Value) -> Result<()>,
) -> Result<CustomResourceDefinition> {
    let today = definitions.get(DEFINITION).await?;
    let mut changed = serde_json::to_value(&today)?;
    change(&mut changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"])?;
    definitions.replace(DEFINITION, &PostParams::default(), &serde_json::from_value(changed)?).await?;
    Ok(today)
}

async fn definitions_back(
    definitions: &Api<CustomResourceDefinition>,
    mut today: CustomResourceDefinition,
) -> Result<()> {
    today.metadata.resource_version = definitions.get(DEFINITION).await?.metadata.resource_version;
    definitions.replace(DEFINITION, &PostParams::default(), &today).await?;
    Ok(())
}

/// Applies it as soon as the API server knows the changed definition, without a type that would not know it.
async fn served(space: &Space, name: &str, spec: &Value) -> Result<()> {
    let server = json!({
        "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": name}, "spec": spec
    });
    let servers = servers(space);
    let params = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("test") };
    eventually(&format!("{name} is accepted by the API server"), async || {
        servers.patch(name, &params, &Patch::Apply(&server)).await?;
        Ok(Some(()))
    })
    .await
}

async fn raw(space: &Space, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(servers(space).get(name).await?)?)
}

fn servers(space: &Space) -> Api<DynamicObject> {
    Api::namespaced_with(space.client(), &space.namespace, &ApiResource::erase::<McpServer>(&()))
}
