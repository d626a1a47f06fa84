//! What every reconcile has at hand.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use crate::cache::{Cache, Key, Scope};
use crate::events::Publisher;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::upgrade::Upgrades;
use crate::verify::Verifier;

/// What every reconcile has at hand.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known of the cluster.
    pub cache: Arc<Cache>,
    /// What is remembered of each server.
    pub memory: Memory,
    /// Asks the running servers. `None` with `--probe-via=none`.
    pub verifier: Option<Verifier>,
    /// Writes events.
    pub events: Publisher,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Whose turn it is to get a changed image of the runtime.
    pub upgrades: Upgrades,
    /// What shapes children.
    pub settings: Settings,
    /// What is watched.
    pub scope: Scope,
    /// How long one reconcile may take.
    pub deadline: Duration,
}

impl Context {
    /// The server goes: nobody asks it any more.
    pub fn stop_asking(&self, server: &Key) {
        if let Some(verifier) = &self.verifier {
            verifier.forget(server);
        }
    }

    /// The server is gone: nothing of it is remembered.
    pub fn forget(&self, server: &Key) {
        self.stop_asking(server);
        self.memory.forget(server);
        self.upgrades.forget(server);
        self.metrics.forget(server);
    }
}
