//! What comes before the pods, and keys that change under them.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::*;

fn migrating(timeout: i32, arguments: &[&str]) -> Value {
    let migrations = json!({"image": "example/migrate:1", "args": arguments, "timeoutSeconds": timeout});
    json!({
        "backend": {"builtin": {}},
        "database": {"urlSecretRef": {"name": "late", "key": "url"}, "migrations": migrations}
    })
}

/// No node runs the Job: the first fails by its deadline, the second ends well by our own word.
pub async fn migrations_come_before_the_pods_and_a_failed_one_keeps_those_of_before(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("migrations")?;
    secret(&space, "late").await?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let before = space.api::<Deployment>().get("demo").await?;

    space.serve("demo", migrating(1, &["up"])).await?;
    let failed = space.condition("demo", "Programmed", |condition| condition.reason == "MigrationFailed").await?;
    ensure!(failed.status == "False" && failed.message.contains("DeadlineExceeded"), "{failed:?}");
    space.condition("demo", "Stalled", |condition| condition.status == "True").await?;
    let kept = space.api::<Deployment>().get("demo").await?;
    ensure!(kept.spec == before.spec, "the pods of before stay");

    space.serve("demo", migrating(600, &["up", "again"])).await?;
    space.condition("demo", "Programmed", |condition| condition.reason == "Migrating").await?;
    let running = eventually("the second Job runs", async || {
        let jobs = space.api::<Job>().list(&ListParams::default()).await?.items;
        Ok(jobs.into_iter().find(|job| job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds) == Some(600)))
    });
    let job = running.await?.name_any();
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let pod =
        eventually("its pod is there", async || Ok(space.api::<Pod>().list(&of_job).await?.items.into_iter().next()));
    let pod = pod.await?.name_any();
    let done = json!({"status": {"phase": "Succeeded"}});
    space.api::<Pod>().patch_status(&pod, &PatchParams::default(), &Patch::Merge(done)).await?;
    space.programmed("demo").await?;
    let after = space.api::<Deployment>().get("demo").await?;
    ensure!(after.annotations().contains_key("mcp-operator.dev/migrated") && after.spec != before.spec);

    space.api::<Job>().delete(&job, &DeleteParams::background()).await?;
    space.gone::<Job>(&job).await?;
    merge::<McpServer>(&space, "demo", json!({"spec": {"observability": {"logLevel": "DEBUG"}}})).await?;
    space.programmed("demo").await?;
    ensure!(space.api::<Job>().get_opt(&job).await?.is_none(), "what is done runs no second time");
    Ok(())
}

pub async fn keys_are_announced_when_an_annotation_asks_for_new_ones(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("rotation")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    let before = space.api::<Secret>().get("demo-keys").await?.data.unwrap_or_default();
    ensure!(before.len() == 3, "{:?}", before.keys());
    let annotation = json!({"metadata": {"annotations": {"mcp-operator.dev/rotate-keys": "one"}}});
    merge::<McpServer>(&space, "demo", annotation).await?;
    let after = eventually("the coming keys are there", async || {
        let data = space.api::<Secret>().get("demo-keys").await?.data.unwrap_or_default();
        Ok((data.len() == 6).then_some(data))
    });
    let after = after.await?;
    for (name, key) in &before {
        ensure!(after.get(name) == Some(key), "{name} is in use still");
        ensure!(after.get(&format!("{name}.next")).is_some_and(|next| next != key && next.0.len() == 32), "{name}");
    }
    eventually("the status says so", async || {
        let status = space.api::<McpServer>().get("demo").await?.status.unwrap_or_default();
        Ok(status.keys.filter(|keys| keys.rotation == "one" && keys.until.is_some()))
    })
    .await
    .map(drop)
}
