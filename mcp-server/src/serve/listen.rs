//! One listener's accept loop.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::connection::{self, WhenClosing};
use crate::app::App;

/// Connections at once on one listener. More wait in the kernel's queue.
const CONNECTIONS_AT_MOST: usize = 8192;
/// Pause after an error of `accept` itself, such as a lack of file descriptors: without it the loop would spin.
const BREATHER: Duration = Duration::from_millis(100);

/// A listener at work. Dropping it stops the accepting, not the connections.
pub(super) struct Listening {
    accepting: JoinHandle<()>,
    connections: TaskTracker,
}

impl Listening {
    /// Connections of the listener that closes are those that the metrics count.
    pub fn start(app: &Arc<App>, listener: TcpListener, router: Router, end: WhenClosing) -> Self {
        let connections = TaskTracker::new();
        let accepting = tokio::spawn(accept(Arc::clone(app), listener, router, end, connections.clone()));
        Self { accepting, connections }
    }

    /// How many there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Closes the listener; gives back the connections that there are.
    pub fn stop_accepting(self) -> TaskTracker {
        self.connections.clone()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(app: Arc<App>, listener: TcpListener, router: Router, end: WhenClosing, connections: TaskTracker) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_AT_MOST));
    loop {
        // Never closed, so it never fails.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let counted = (end == WhenClosing::Close).then(|| app.metrics.connection());
                let (app, router) = (Arc::clone(&app), router.clone());
                connections.spawn(async move {
                    let _held = (permit, counted);
                    // Without it each streamed event waits 40 ms for a delayed ACK.
                    if stream.set_nodelay(true).is_ok() {
                        connection::serve(&app.drain, stream, peer, router, end).await;
                    }
                });
            }
            Err(problem) if is_the_peers(problem.kind()) => {}
            Err(problem) => {
                warn!(error = &problem as &dyn std::error::Error, "cannot accept connections");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// The peer went away between its SYN and our `accept`.
fn is_the_peers(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}
