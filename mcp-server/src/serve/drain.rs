//! The way out, in its six phases (docs/standalone.md shows them from outside). [`super::Server::run`] cuts it short on a
//! second signal.

use std::time::Duration;

use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::connection::LAST_WORD;
use super::listen::Listening;
use crate::app::App;

/// After the calls have ended or were ended, connections get this long to carry the last bytes away.
const FLUSH: Duration = Duration::from_secs(2);
/// Who waits wants to know for what.
const PROGRESS: Duration = Duration::from_secs(5);

pub(super) async fn drain(app: &App, mcp: Listening) {
    let (grace, limit) = (app.config.drain.grace_seconds, app.config.drain.timeout_seconds);
    // 1. Not ready, and serving on: load balancers notice only some time later.
    info!(grace_seconds = grace, timeout_seconds = limit, "stopping: not ready from now on");
    app.metrics.draining();
    app.drain.leave();
    sleep(Duration::from_secs(grace.into())).await;

    // 2. and 3. New connections go elsewhere; new sessions and listens are refused; idle streams get their ends.
    // Said first, so that whoever is accepted last is told too.
    app.endpoint.begin_drain();
    app.drain.close();
    let connections = mcp.stop_accepting().await;
    info!(connections = connections.len(), "no new connections and sessions; waiting for the calls under way");

    // 4. What is under way is answered.
    let limit = Duration::from_secs(limit.into());
    if timeout(limit, answered(app, &connections, limit)).await.is_err() {
        warn!(connections = connections.len(), "calls did not end in time; they are cancelled");
    }

    // 5. What is left is told that it was ended.
    app.endpoint.cancel();

    // 6. The last bytes go out.
    connections.close();
    if timeout(FLUSH, connections.wait()).await.is_err() {
        info!(connections = connections.len(), "connections that did not close are dropped");
    }
    info!(seconds = app.drain.lasts().as_secs(), "drained");
}

/// Resolves when no call is under way, and none can have been sent before its sender could know.
async fn answered(app: &App, connections: &TaskTracker, limit: Duration) {
    if connections.is_empty() {
        return;
    }
    let calls = async {
        sleep(LAST_WORD).await;
        app.endpoint.in_flight_done().await;
        // A message that is still being read is no call yet.
        connections.close();
        let _ = timeout(FLUSH, connections.wait()).await;
        app.endpoint.in_flight_done().await;
    };
    let begun = Instant::now();
    let progress = async {
        let mut ticks = interval_at(begun + PROGRESS, PROGRESS);
        loop {
            ticks.tick().await;
            let seconds_left = limit.saturating_sub(begun.elapsed()).as_secs();
            let requests = app.metrics.requests_in_flight();
            info!(connections = connections.len(), requests, seconds_left, "waiting for the calls under way");
        }
    };
    tokio::select! {
        () = calls => {}
        () = progress => {}
    }
}
