//! `conformance`: runs the official suite against servers that it starts, and clients of other SDKs against the same
//! servers.
//!
//! ```text
//! suite, clients ── runs: what is asked, and what stands before it ── stage ── processes (issuer, redis, servers)
//!                                                                   └── front: adds the token, spreads requests
//! ```

mod clients;
mod front;
mod http;
mod processes;
mod runs;
mod stage;
mod suite;
mod tally;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use self::clients::{Sdk, Server};
use self::runs::Run;
use self::suite::Suite;
use self::tally::Tally;

/// Checks servers that it starts. The last line says how many checks passed and failed, over all runs.
#[derive(Parser)]
enum Command {
    /// Runs the official conformance suite.
    Suite {
        /// The installed packages of e2e/conformance/package.json.
        #[arg(long, value_name = "FOLDER")]
        packages: PathBuf,
        /// Where logs and results go.
        #[arg(long, value_name = "FOLDER", default_value = "target/conformance")]
        output: PathBuf,
        /// Which runs. Default: those that must pass.
        #[arg(value_enum)]
        runs: Vec<Run>,
    },
    /// Runs clients of other SDKs (e2e/sdk).
    Clients {
        /// Where logs go.
        #[arg(long, value_name = "FOLDER", default_value = "target/sdk-clients")]
        output: PathBuf,
        /// The clients: a name, and the command that starts it, as in `go=/tmp/e2e-go`.
        #[arg(required = true)]
        sdks: Vec<Sdk>,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let all = match Command::parse() {
        Command::Suite { packages, output, runs } => suite(&packages, &fresh(&output)?, runs).await?,
        Command::Clients { output, sdks } => clients(&fresh(&output)?, &sdks).await?,
    };
    ensure!(all.passed + all.failed > 0, "nothing was checked");
    println!("\n{all}");
    Ok(if all.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn suite(packages: &Path, output: &Path, runs: Vec<Run>) -> Result<Tally> {
    let suite = Suite::new(packages)?;
    let runs = if runs.is_empty() { Run::REQUIRED.to_vec() } else { runs };
    let mut all = Tally::default();
    for run in runs {
        println!("\n{}", run.about());
        for report in run.go(&suite, &output.join(run.name())).await? {
            print!("{report}");
            all += report.tally();
        }
    }
    Ok(all)
}

async fn clients(output: &Path, sdks: &[Sdk]) -> Result<Tally> {
    let mut all = Tally::default();
    for server in Server::ALL {
        println!("\n{}", server.about());
        for report in server.meet(sdks, &output.join(server.name())).await? {
            print!("{report}");
            all += report.tally();
        }
    }
    Ok(all)
}

/// An empty folder, by its absolute path.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    folder.canonicalize().with_context(|| format!("find {}", folder.display()))
}
