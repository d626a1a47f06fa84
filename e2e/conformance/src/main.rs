//! `conformance-server`: the fixture as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use e2e_conformance::bare;
use e2e_conformance::fixture::{Fixture, Sealing};
use mcp_server::runtime::Runtime;
use mcp_server::serve::Ending;
use tokio::net::TcpListener;

/// The server that the conformance suite asks. Not for production.
#[derive(Parser)]
struct Flags {
    /// Configuration of the shell around it.
    #[arg(long, value_name = "FILE", required_unless_present = "bare", conflicts_with = "bare")]
    config: Option<PathBuf>,
    /// Serve with rmcp's own HTTP service, without the shell.
    #[arg(long)]
    bare: bool,
    /// Where to listen without the shell.
    #[arg(long, requires = "bare", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Flags { config, bare: _, listen } = Flags::parse();
    let Some(config) = config else {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen at {listen}"))?;
        println!("serving at http://{}/mcp", listener.local_addr()?);
        bare::serve(listener).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let fixture = Fixture::new(Sealing::Shell);
    match Runtime::builder().config_file(config).handler(fixture).run().await? {
        Ending::Drained => Ok(ExitCode::SUCCESS),
        Ending::Cut => Ok(ExitCode::FAILURE),
    }
}
