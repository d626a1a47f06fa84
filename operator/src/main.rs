//! `mcp-operator`: see `--help`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use mcp_operator::cli::{Cli, Command, LogFormat, Run};
use mcp_operator::operator::{self, End};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

// musl's own allocator is slow under threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    // Before anything makes a TLS connection: two providers in one process would make rustls panic.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS crypto provider was installed first");
    }
    let cli = Cli::parse();
    if let Some(Command::Crd) = cli.command {
        print!("{}", mcp_crds::crd::YAML);
        return Ok(ExitCode::SUCCESS);
    }
    log(&cli.run)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    // On a worker: on this thread each message between the queue and the reconciles would be a switch of threads.
    let running = runtime.spawn(run(cli.run));
    runtime.block_on(running).context("the operator panicked")?
}

async fn run(options: Run) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    match operator::run(options, stop).await? {
        End::Stopped => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        End::LeaseLost => {
            error!("lost the lease: exiting, so that only the new leader writes");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn stop_on_signal(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

fn log(options: &Run) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log_level)
        .with_context(|| format!("--log-level {}: write error, warn, info, debug or trace", options.log_level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).init(),
        LogFormat::Text => lines.init(),
    }
    Ok(())
}
