//! The program: `mcp-server --config config.yaml`, `mcp-server healthcheck`, `mcp-server schema`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mcp_server::serve::Ending;
use mcp_server::settings::Loaded;
use mcp_server::{Runtime, healthcheck, logging};
use mcp_server_config::Environment;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Nothing is wrong with the machine, but with what was written.
const BAD_CONFIGURATION: u8 = 2;
/// What still blocks a thread when all is over (a name that is being looked up, a file system that hangs) cannot be
/// ended, only left behind. After the drain nobody needs its outcome.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// A hardened MCP endpoint. Without a file it serves built-in demonstration tools at http://127.0.0.1:8000/mcp.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// File with the sections that are reloaded while running. Default: those of the configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    live: Option<PathBuf>,
    /// Ignore the environment variables (MCP_SERVER_PORT, AUTH_SERVER_URL, REDIS_URL and so on).
    #[arg(long, global = true)]
    no_env_overrides: bool,
    /// Check the configuration and exit.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask a running server on this machine for its /health; exit code 0 if it is healthy.
    Healthcheck,
    /// Print the JSON Schema of the configuration file.
    Schema,
}

fn main() -> ExitCode {
    // First: whatever uses TLS or signatures needs it, and there must be one only.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("mcp-server: a crypto provider is already installed");
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    if matches!(arguments.command, Some(Command::Schema)) {
        println!("{:#}", mcp_server_config::schema());
        return ExitCode::SUCCESS;
    }
    let (runtime, loaded) = match load(&arguments) {
        Ok(loaded) => loaded,
        Err(problem) => {
            eprintln!("mcp-server: {problem:#}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let outcome = match arguments.command {
        Some(Command::Healthcheck) => healthcheck::run(&loaded.config).map(|()| Ending::Drained),
        Some(Command::Schema) | None if arguments.check => {
            check(&loaded);
            Ok(Ending::Drained)
        }
        Some(Command::Schema) | None => run(runtime, loaded),
    };
    let code = match outcome {
        Ok(Ending::Drained) => ExitCode::SUCCESS,
        Ok(Ending::Cut) => ExitCode::FAILURE,
        Err(problem) => {
            // Also where the logs go to a file only.
            eprintln!("mcp-server: {problem:#}");
            ExitCode::FAILURE
        }
    };
    // Lines are written by threads that end with the process.
    logging::flush();
    code
}

fn load(arguments: &Arguments) -> anyhow::Result<(Runtime, Loaded)> {
    let mut runtime = Runtime::builder();
    if !arguments.no_env_overrides {
        runtime = runtime.environment(Environment::read(|name| std::env::var(name).ok())?);
    }
    if let Some(config) = &arguments.config {
        runtime = runtime.config_file(config);
    }
    if let Some(live) = &arguments.live {
        runtime = runtime.live_file(live);
    }
    let loaded = runtime.load()?;
    Ok((runtime, loaded))
}

fn check(loaded: &Loaded) {
    for warning in &loaded.warnings {
        eprintln!("mcp-server: warning: {warning}");
    }
    println!("the configuration is valid");
}

fn run(runtime: Runtime, loaded: Loaded) -> anyhow::Result<Ending> {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let ending = threads.block_on(runtime.run_loaded(loaded));
    threads.shutdown_timeout(LEFT_BEHIND);
    Ok(ending?)
}
