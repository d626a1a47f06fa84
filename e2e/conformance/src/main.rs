//! `conformance-server`: the fixture as a process.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Parser;
use e2e_conformance::bare;
use tokio::net::TcpListener;

/// The server that the conformance suite asks. Not for production.
#[derive(Parser)]
struct Flags {
    /// Serve with rmcp's own HTTP service, without our shell.
    #[arg(long, required = true)]
    bare: bool,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Flags { bare: _, listen } = Flags::parse();
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen at {listen}"))?;
    println!("serving at http://{}/mcp", listener.local_addr()?);
    bare::serve(listener).await
}
