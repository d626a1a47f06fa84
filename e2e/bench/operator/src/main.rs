//! `bench-operator`: what a server costs from its creation to its deletion, at the operator and at the API server.
//!
//! ```text
//! main ── rooms (a network and an /etc/resolv.conf of our own) ── bench (the phases of one kind of server)
//!           ├─ stage (etcd and API server on one processor, the operator's release build on the other)
//!           ├─ audit (every request, by the API server's own account)
//!           ├─ kubelet (pods, slices and statuses, written as a cluster would)
//!           ├─ runtime (one process that answers for all pods and Services, and DNS)
//!           ├─ floor (the same writes by a bare client of 32 connections)
//!           └─ report (table, goals)
//! ```
//!
//! A benchmark is not a test: figures never fail it, a phase that does not end does.

mod audit;
mod bench;
mod floor;
mod kubelet;
mod process;
mod report;
mod rooms;
mod runtime;
mod samples;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::samples::Sample;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the operator. It has one processor; the API server, etcd and everything that stands for a cluster have the
/// other.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How many servers.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    count: u16,
    /// A hundred servers and short times of rest: shows that everything works, and what is counted; not how fast.
    #[arg(long)]
    quick: bool,
    /// Only servers of this kind.
    #[arg(long, value_enum)]
    only: Option<Sample>,
    /// The program `mcp-operator`. Default: the one beside this program.
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
    /// Keeps the operator's log and the audit log in this folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Part {
    /// Send the writes of that many servers and nothing else.
    Floor(floor::Arguments),
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    count: usize,
    rest: Duration,
    changes: usize,
}

fn main() -> Result<()> {
    // Before the first TLS connection. That it was chosen already is no error.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let tokio = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    if let Some(Part::Floor(floor)) = arguments.part {
        return tokio()?.block_on(floor::run(&floor));
    }
    if !rooms::are_our_own() {
        return rooms::move_in();
    }
    let effort = match arguments.quick {
        true => Effort { count: usize::from(arguments.count).min(100), rest: Duration::from_secs(10), changes: 10 },
        false => Effort { count: arguments.count.into(), rest: Duration::from_secs(60), changes: 60 },
    };
    let samples = arguments.only.map_or_else(|| vec![Sample::Minimal, Sample::Full], |only| vec![only]);
    let mut measured = Vec::new();
    for sample in samples {
        let stage = stage::Stage::build(arguments.operator.clone())?;
        // One for each: what listens for the servers of this kind ends with it.
        measured.push(tokio()?.block_on(bench::run(stage, sample, effort, arguments.keep.as_deref()))?);
    }
    report::print(&measured, effort);
    Ok(())
}
