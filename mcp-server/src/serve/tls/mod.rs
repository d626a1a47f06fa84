//! TLS of the MCP listener: handshakes, and certificates that are renewed while streams go on. A connection keeps what
//! its handshake found; only later ones see newer files.

mod material;
mod metrics;
mod renew;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use mcp_server_config::report::TlsReport;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use self::material::{Files, Material};
use self::metrics::{Handshake, TlsMetrics};
use crate::metrics::Metrics;

pub use self::material::Unusable;

/// A client that connects and does not come to an end of its handshake is hung up on.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Because of the files.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What handshakes need.
pub struct Tls {
    section: mcp_server_config::Tls,
    current: ArcSwap<Material>,
    /// Why the newest files are refused.
    error: ArcSwapOption<String>,
    metrics: TlsMetrics,
}

impl Tls {
    /// Reads the files. Here, what is wrong ends the start.
    pub fn load(section: &mcp_server_config::Tls, metrics: &Metrics) -> Result<Arc<Self>, TlsError> {
        let material = Files::read(section)?.build(section)?;
        let metrics = TlsMetrics::new(metrics.registry())?;
        metrics.certificate(material.not_after);
        if material.not_after <= Timestamp::now() {
            warn!(not_after = %material.not_after, "the certificate has expired: most clients will refuse it");
        } else {
            info!(not_after = %material.not_after, "certificate loaded");
        }
        Ok(Arc::new(Self {
            section: section.clone(),
            current: ArcSwap::from_pointee(material),
            error: ArcSwapOption::empty(),
            metrics,
        }))
    }

    /// For `/server`.
    #[must_use]
    pub fn report(&self) -> TlsReport {
        TlsReport { not_after: self.current.load().not_after.to_string(), error: self.error.load().as_deref().cloned() }
    }

    /// Shakes hands, or tells why not.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().server));
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                self.metrics.handshake(Handshake::Success);
                Some(stream)
            }
            Ok(Err(problem)) => {
                // Scanners, and clients that do not know our authority: no news for the log.
                debug!(problem = %problem, "handshake failed");
                self.metrics.handshake(Handshake::Failed);
                None
            }
            Err(_) => {
                self.metrics.handshake(Handshake::TooSlow);
                None
            }
        }
    }
}
