//! `conformance`: runs the official suite against servers that it starts, and clients of other SDKs against the same
//! servers.
//!
//! ```text
//! suite, clients ── runs: what is asked, and what stands before it ── stage ── processes (issuer, redis, servers)
//!                                                                   └── front: adds the token, spreads requests
//! ```

mod front;
mod http;
mod processes;
mod runs;
mod stage;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use self::runs::Run;
use self::suite::{Suite, Tally};

/// Runs the official conformance suite. The last line says how many checks passed and failed, over all runs.
#[derive(Parser)]
struct Flags {
    /// The installed packages of e2e/conformance/package.json.
    #[arg(long, value_name = "FOLDER")]
    packages: PathBuf,
    /// Where logs and results go.
    #[arg(long, value_name = "FOLDER", default_value = "target/conformance")]
    output: PathBuf,
    /// Which runs. Default: those that must pass.
    #[arg(value_enum)]
    runs: Vec<Run>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Flags { packages, output, runs } = Flags::parse();
    let suite = Suite::new(&packages)?;
    let runs = if runs.is_empty() { Run::REQUIRED.to_vec() } else { runs };
    let _ = std::fs::remove_dir_all(&output);

    let mut all = Tally::default();
    for run in runs {
        println!("\n{}", run.about());
        for report in run.go(&suite, &output.join(run.name())).await? {
            print!("{report}");
            all += report.tally();
        }
    }
    ensure!(all.passed + all.failed > 0, "nothing was checked");
    println!("\n{} passed, {} failed", all.passed, all.failed);
    Ok(if all.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
