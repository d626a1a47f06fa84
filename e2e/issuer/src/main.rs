//! `e2e-issuer`: the issuer as a process, for the demonstration's cluster.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Parser;
use e2e_issuer::{Client, Issuer, Options};
use tokio::signal::unix::{SignalKind, signal};

/// A small OpenID issuer for tests and demonstrations. Not for production.
#[derive(Parser)]
struct Flags {
    /// The `iss` of its tokens. Default: the address it listens at.
    #[arg(long, env = "ISSUER_URL")]
    issuer_url: Option<String>,
    /// Where to listen.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// A client that may ask for tokens: id:secret:scope,scope. May be given several times, in the variable separated
    /// by `;`.
    #[arg(long = "client", env = "CLIENTS", value_delimiter = ';', hide_env_values = true)]
    clients: Vec<Client>,
    /// Seconds that a token lives.
    #[arg(long, env = "TOKEN_SECONDS", default_value_t = 3600)]
    token_seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Flags { issuer_url, listen, clients, token_seconds } = Flags::parse();
    let options = Options { url: issuer_url, listen, clients, token_seconds, ..Options::default() };
    let issuer = Issuer::start(options).await?;
    println!("issuer {} listens at {}", issuer.url(), issuer.address());

    // As process 1 of a container it gets no default action for signals.
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        () = issuer.wait() => anyhow::bail!("the server ended"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
