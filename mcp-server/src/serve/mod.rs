//! The listeners, and how the process ends.

mod connection;
mod listen;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::connection::WhenClosing;
use self::listen::Listening;
use crate::app::{self, App};
use crate::management;

/// After the calls have ended or were ended, connections get this long to carry the last bytes away.
const FLUSH: Duration = Duration::from_secs(2);

/// Both listeners, bound.
pub struct Server {
    app: Arc<App>,
    mcp: TcpListener,
    management: TcpListener,
}

/// An address that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} ({field}): {source}")]
pub struct BindError {
    address: SocketAddr,
    field: &'static str,
    source: std::io::Error,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was under way has been answered or was ended after its time.
    Drained,
    /// A second signal cut the rest.
    Cut,
}

impl Server {
    /// Binds both listeners.
    pub async fn bind(app: Arc<App>) -> Result<Self, BindError> {
        let host = app.config.server.host;
        let mcp = bind(SocketAddr::new(host, app.config.server.port), "server.port").await?;
        let management = bind(SocketAddr::new(host, app.config.metrics.port), "metrics.port").await?;
        if let (Some(peers), Ok(address)) = (app.state.peers(), management.local_addr()) {
            peers.announce(address);
        }
        Ok(Self { app, mcp, management })
    }

    /// Where the MCP endpoint is.
    pub fn mcp_address(&self) -> std::io::Result<SocketAddr> {
        self.mcp.local_addr()
    }

    /// Where probes and metrics are.
    pub fn management_address(&self) -> std::io::Result<SocketAddr> {
        self.management.local_addr()
    }

    /// Serves until the first message of `signals`, then drains; the second one cuts what is left.
    pub async fn run(self, mut signals: mpsc::Receiver<()>) -> Ending {
        let Self { app, mcp, management } = self;
        let mcp = Listening::start(&app, mcp, app::router(&app), WhenClosing::Close);
        let management = Listening::start(&app, management, management::router(&app), WhenClosing::Stay);

        // A closed channel is no signal: it means that nobody can stop us by it.
        if signals.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let ending = tokio::select! {
            () = drain(&app, mcp) => Ending::Drained,
            Some(()) = signals.recv() => Ending::Cut,
        };
        if ending == Ending::Cut {
            warn!("second signal: what is under way is cut");
        }
        app.endpoint.cancel();
        app.drain.close();
        app.drain.cut();
        drop(management);
        info!("stopped");
        ending
    }
}

async fn drain(app: &App, mcp: Listening) {
    let (grace, timeout) = (app.config.drain.grace_seconds, app.config.drain.timeout_seconds);
    info!(grace_seconds = grace, timeout_seconds = timeout, "stopping: not ready from now on");
    app.metrics.draining();
    app.drain.leave();
    tokio::time::sleep(Duration::from_secs(grace.into())).await;

    info!(connections = mcp.connections(), "no new connections and sessions; waiting for the calls under way");
    let connections = mcp.stop_accepting();
    app.endpoint.begin_drain();
    app.drain.close();
    let calls = tokio::time::timeout(Duration::from_secs(timeout.into()), app.endpoint.in_flight_done()).await;
    if calls.is_err() {
        warn!("calls did not end in time; they are cancelled");
    }
    app.endpoint.cancel();
    connections.close();
    if tokio::time::timeout(FLUSH, connections.wait()).await.is_err() {
        info!(connections = connections.len(), "connections that did not close are dropped");
    }
}

async fn bind(address: SocketAddr, field: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, field, source })
}
