//! `e2e-bench`: what a request, a session and an idle process cost, ours beside others', as real processes of release
//! builds.
//!
//! ```text
//! main ── lineup (which processes, how each is called) ── process (pinned, CPU and memory from /proc)
//!      ├─ rounds (interleaved windows) ── load ── client, calls
//!      ├─ sessions (memory of one, leaks)
//!      └─ report (table, ratios, goals)
//! subject: the floor and bare rmcp, served by this same program
//! ```
//!
//! A benchmark is not a test: figures never fail it, a wrong answer does.

mod calls;
mod client;
mod lineup;
mod load;
mod process;
mod report;
mod rounds;
mod sessions;
mod subject;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use self::lineup::Lineup;
use self::process::Cores;
use self::rounds::Effort;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the runtime beside a bare handler, bare rmcp and nginx. The server under test has one processor, load
/// generator, upstream and redis have the other.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    subject: Option<Subject>,
    /// Few requests and sessions: shows that everything answers, not how fast.
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every subject once at every number of connections. Figures are medians over them.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only subjects whose name contains this, and those that they are compared with.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The program `mcp-server`. Default: the one beside this program.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Subject {
    /// Serve the answer and nothing else: what HTTP itself costs.
    Floor { listen: SocketAddr },
    /// Serve an echo tool by rmcp alone.
    Rmcp { listen: SocketAddr },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.subject {
        Some(Subject::Floor { listen }) => runtime()?.block_on(subject::floor(listen)),
        Some(Subject::Rmcp { listen }) => runtime()?.block_on(subject::rmcp(listen)),
        None => {
            let cores = Cores::take()?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&arguments, &cores))
        }
    }
}

/// As `mcp-server` has it.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

async fn measure(arguments: &Arguments, cores: &Cores) -> Result<()> {
    let this = std::env::current_exe().context("find this program")?;
    let server = arguments.server.clone().unwrap_or_else(|| this.with_file_name("mcp-server"));
    anyhow::ensure!(server.exists(), "{} is missing: build it, or say where it is with --server", server.display());

    let effort = Effort::of(arguments.quick, arguments.rounds);
    let lineup = Lineup { this, server, cores };
    let mut table = rounds::run(&lineup, &effort, arguments.only.as_deref()).await?;
    if arguments.only.is_none() {
        sessions::run(&lineup, &effort, &mut table).await?;
    }
    report::print(&table, &effort);
    Ok(())
}
