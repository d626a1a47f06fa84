//! Runs cases: first those that share the stage, a few at a time, then one by one those that need it alone. What failed
//! is shown with all that the cluster knows about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, ensure};
use futures::stream::{self, StreamExt};
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::timeout;

use super::{ALL, Case, Context, Done, Stage};
use crate::product::circumstances;

/// Nothing that a case waits for takes that long: only a case that hangs.
const LONGEST: Duration = Duration::from_secs(480);

/// How a case ended.
struct Outcome {
    name: &'static str,
    result: Result<Done>,
}

/// Sets the stage on the cluster `name` and runs the cases whose name contains `only` (all, if it is empty), `parallel`
/// at a time. `namespaced`: with an operator that has rights in their namespaces only. The cluster keeps running.
pub async fn suite(name: &str, only: &str, parallel: usize, namespaced: bool) -> Result<()> {
    let started = Instant::now();
    println!("setting the stage: binaries, cluster {name}, images, operator");
    let stage = Stage::set(name, namespaced).await?;
    println!("the stage is set after {:.0} s; running the cases", started.elapsed().as_secs_f32());

    let outcomes = run(&stage, only, parallel).await;
    ensure!(!outcomes.is_empty(), "no case has a name that contains {only:?}");
    let count = |wanted: fn(&Result<Done>) -> bool| outcomes.iter().filter(|outcome| wanted(&outcome.result)).count();
    println!(
        "{} passed, {} skipped, {} failed, in {:.0} s",
        count(|result| matches!(result, Ok(Done::Passed))),
        count(|result| matches!(result, Ok(Done::Skipped(_)))),
        count(Result::is_err),
        started.elapsed().as_secs_f32()
    );
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err());
    let failed: Vec<_> = failed.map(|outcome| outcome.name).collect();
    ensure!(
        failed.is_empty(),
        "failed: {}. Cluster {name} is kept for whoever looks; `cargo run -p e2e -- down --name {name}` ends it",
        failed.join(" ")
    );
    Ok(())
}

async fn run(stage: &Arc<Stage>, only: &str, parallel: usize) -> Vec<Outcome> {
    let wanted = |case: &&Case| case.name.contains(only);
    let shared = ALL.iter().filter(|case| !case.alone).filter(wanted);
    let mut outcomes: Vec<_> =
        stream::iter(shared).map(|case| run_one(stage, case)).buffer_unordered(parallel).collect().await;
    // These look at all that the operator does: no namespace of the others may still be going away.
    if let Err(error) = block_in_place(|| until_namespaces_are_gone(stage)) {
        println!("  {error:#}");
    }
    for case in ALL.iter().filter(|case| case.alone).filter(wanted) {
        outcomes.push(run_one(stage, case).await);
    }
    outcomes
}

fn until_namespaces_are_gone(stage: &Stage) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let phases = ["get", "namespaces", "-o", "jsonpath={.items[*].status.phase}"];
    while stage.cluster.kubectl(&phases)?.contains("Terminating") {
        ensure!(Instant::now() < deadline, "namespaces of earlier cases do not go away");
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

async fn run_one(stage: &Arc<Stage>, case: &'static Case) -> Outcome {
    let started = Instant::now();
    let stage = stage.clone();
    let result = spawn_blocking(move || in_a_runtime_of_its_own(&stage, case)).await;
    let result = result.unwrap_or_else(|error| Err(anyhow!("it panicked: {error}")));
    let seconds = started.elapsed().as_secs_f32();
    match &result {
        Ok(Done::Passed) => println!("  passed   {:<22} {seconds:>6.1} s", case.name),
        Ok(Done::Skipped(why)) => println!("  skipped  {:<22} {why}", case.name),
        Err(error) => println!("  FAILED   {:<22} {seconds:>6.1} s\n{error:#}", case.name),
    }
    Outcome { name: case.name, result }
}

/// Cases measure when things arrive, and run kubectl in between: one that blocks must not hold up another.
fn in_a_runtime_of_its_own(stage: &Arc<Stage>, case: &Case) -> Result<Done> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(attempt(stage, case))
}

async fn attempt(stage: &Arc<Stage>, case: &Case) -> Result<Done> {
    let context = Context::new(stage.clone(), case).await?;
    let result = timeout(LONGEST, (case.run)(&context)).await;
    match result.unwrap_or_else(|_| Err(anyhow!("it did not end within {LONGEST:?}"))) {
        // The namespace of a failed case stays for whoever looks into it.
        Err(error) => Err(with_circumstances(&context, &error)),
        Ok(done) => context.clean_up(case.alone).map(|()| done),
    }
}

/// The error, and what the cluster knows.
fn with_circumstances(context: &Context, error: &Error) -> Error {
    let shown = block_in_place(|| circumstances::of_namespace(&context.stage.cluster, &context.namespace));
    anyhow!("    {error:#}\nnamespace {} is kept{shown}", context.namespace)
}
