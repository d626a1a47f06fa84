//! The listeners, and how the process ends.

mod connection;
mod descriptors;
mod drain;
#[cfg(target_os = "linux")]
mod idle;
mod linger;
mod listen;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::connection::{Service, WhenClosing};
use self::listen::Listening;
pub use self::tls::{Tls, TlsError};
use crate::app::{self, App};
use crate::management;

/// The standard library would let 128 connections wait; more than that are dropped in silence, and tried again a second later.
const WAITING_AT_MOST: u32 = 4096;

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
        let mcp = bind(SocketAddr::new(host, app.config.mcp_port()), "server.port")?;
        let management = bind(SocketAddr::new(host, app.config.metrics.port), "metrics.port")?;
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
        let at_most = descriptors::room(app.config.server.max_connections());
        let service = |router, tls, end| Service { app: Arc::clone(&app), router, tls, end, at_most };
        let mcp = Listening::start(mcp, service(app::router(&app), app.tls.clone(), WhenClosing::Close));
        let management = Listening::start(management, service(management::router(&app), None, WhenClosing::Stay));
        let beside = CancellationToken::new();
        if let Some(tls) = app.tls.clone() {
            tokio::spawn(beside.clone().run_until_cancelled_owned(tls.renew()));
        }
        #[cfg(target_os = "linux")]
        tokio::spawn(beside.clone().run_until_cancelled_owned(idle::give_back(Arc::clone(&app.metrics))));
        let _beside = beside.drop_guard();

        // A closed channel is no signal: it means that nobody can stop us by it.
        if signals.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let ending = tokio::select! {
            () = drain::drain(&app, mcp) => Ending::Drained,
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

fn bind(address: SocketAddr, field: &'static str) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| BindError { address, field, source })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_AT_MOST)
}
