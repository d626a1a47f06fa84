//! The operator as a process among others.

use super::*;

pub async fn a_converged_operator_sends_nothing_and_a_restart_writes_only_the_lease(stage: &mut Stage) -> Result<()> {
    // The servers of all earlier cases are there: converged, waiting, in conflict with a person. Those that somebody
    // fights over are asked about from time to time; they go first.
    // So do those whose keys are being made anew, which goes by the clock.
    for gone in ["contested", "foreign", "rotation"] {
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
    let lease = Api::<Lease>::namespaced(stage.client.clone(), OPERATOR).get("mcp-operator").await?;
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
    let mut second = stage.operator().spawn()?;
    let api = Api::<Lease>::namespaced(stage.client.clone(), OPERATOR);
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
    let space = stage.namespace("takeover")?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await
}
