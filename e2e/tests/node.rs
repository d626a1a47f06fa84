//! The whole product on a real node: all cases of `e2e::cases`, on the cluster that `MCP_E2E_CLUSTER` chooses.
//!
//! ```text
//! cargo test -p e2e --test node                 all cases
//! cargo test -p e2e --test node -- session      those whose name contains `session`
//! MCP_E2E_KEEP=1 …                              leave the cluster running for the next run
//! ```
//! The cluster is called `test`, so that a demo may go on beside it. After a failure it stays, for whoever looks.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use e2e::cases::{self, Stage};
use e2e::clusters::Cluster;

const CLUSTER: &str = "test";

/// Cases wait more than they work; on two cores more of them would only make each other slow.
const PARALLEL: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = arguments.iter().find(|argument| !argument.starts_with('-')).map_or("", String::as_str);
    if arguments.iter().any(|argument| argument == "--list") {
        cases::ALL.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    match run(only) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all cases passed.
fn run(only: &str) -> Result<bool> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("setting the stage: binaries, cluster {CLUSTER}, images, operator");
    let stage = runtime.block_on(Stage::set(CLUSTER))?;
    println!("the stage is set after {:.0} s; running the cases", started.elapsed().as_secs_f32());

    let outcomes = runtime.block_on(cases::run(&stage, only, PARALLEL));
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| outcome.result.is_err()).map(|outcome| outcome.name).collect();
    println!(
        "{} cases in {:.0} s, {} failed {}",
        outcomes.len(),
        started.elapsed().as_secs_f32(),
        failed.len(),
        failed.join(" ")
    );
    if !failed.is_empty() {
        println!("cluster {CLUSTER} is kept; `cargo run -p e2e -- down --name {CLUSTER}` ends it");
        return Ok(false);
    }
    anyhow::ensure!(!outcomes.is_empty(), "no case has a name that contains {only:?}");
    if std::env::var_os("MCP_E2E_KEEP").is_none() {
        Cluster::down(CLUSTER)?;
    }
    Ok(true)
}
