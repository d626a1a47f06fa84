//! The runtime's own handshake with its backend: is it there, what is it, what does it offer? The newest protocol first,
//! then the one with sessions. It runs at start until it succeeds, then now and then, and at once when a request could
//! not reach the backend.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use mcp_server_config::report::{BackendReport, BackendState};
use rand::Rng as _;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::ask::{Trouble, offer};
use super::upstream::Upstream;
use super::{catalog, reach};
use crate::mcp::envelope::standard_headers::Mirrored;
use crate::metrics::Metrics;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between two handshakes with a backend that answers.
const PERIOD: Duration = Duration::from_secs(60);

/// What a backend offers.
pub(super) struct Offer {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    /// Newest first.
    pub(super) protocol_versions: Vec<String>,
    pub(super) tools: Vec<Value>,
}

/// The state of the handshake, shared with the requests.
pub(super) struct Handshake {
    report: ArcSwap<BackendReport>,
    /// The tools whose arguments are repeated in headers.
    mirrored: ArcSwap<HashMap<String, Mirrored>>,
    succeeded_once: AtomicBool,
    nudge: Notify,
}

impl Handshake {
    /// Starts it in the background; `workers` ends it.
    pub(super) fn start(
        url: Url,
        upstream: Arc<Upstream>,
        metrics: Arc<Metrics>,
        workers: &CancellationToken,
    ) -> Arc<Self> {
        let report = BackendReport { kind: "container".to_owned(), ..BackendReport::default() };
        let this = Arc::new(Self {
            report: ArcSwap::from_pointee(report),
            mirrored: ArcSwap::default(),
            succeeded_once: AtomicBool::new(false),
            nudge: Notify::new(),
        });
        let repeated = Arc::clone(&this).repeat(url, upstream, metrics);
        tokio::spawn(workers.clone().run_until_cancelled_owned(repeated));
        this
    }

    pub(super) fn report(&self) -> BackendReport {
        BackendReport::clone(&self.report.load())
    }

    /// Which arguments of the tool are repeated in headers, as far as the last handshake has learned.
    pub(super) fn mirrored(&self, tool: Option<&str>) -> Option<Mirrored> {
        let mirrored = self.mirrored.load();
        mirrored.get(tool?).cloned()
    }

    pub(super) fn succeeded_once(&self) -> bool {
        self.succeeded_once.load(Ordering::Relaxed)
    }

    /// A request could not reach the backend: look now.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    async fn repeat(self: Arc<Self>, url: Url, upstream: Arc<Upstream>, metrics: Arc<Metrics>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match offer(&upstream).await {
                Ok(offer) => {
                    let reachable = reach::reachable_directly(&url).await;
                    self.succeeded(&offer, reachable, &metrics);
                    pause = FIRST_PAUSE;
                    tokio::select! {
                        () = tokio::time::sleep(PERIOD) => {}
                        () = self.nudge.notified() => tokio::time::sleep(FIRST_PAUSE).await,
                    }
                }
                Err(trouble) => {
                    self.failed(trouble);
                    let jitter = rand::rng().random_range(0.8..1.2);
                    tokio::time::sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn succeeded(&self, offer: &Offer, reachable_directly: Option<bool>, metrics: &Metrics) {
        self.mirrored.store(Arc::new(mirrored(&offer.tools)));
        metrics.set_known_tools(offer.tools.iter().map(|tool| catalog::name(tool).to_owned()));
        let before = self.report.load();
        let report = BackendReport {
            kind: before.kind.clone(),
            state: BackendState::Ready,
            error: None,
            server_name: offer.name.clone(),
            server_version: offer.version.clone(),
            protocol_versions: offer.protocol_versions.clone(),
            tools: u32::try_from(offer.tools.len()).ok(),
            tools_digest: Some(catalog::digest(&offer.tools)),
            reachable_directly,
        };
        if **before != report {
            tracing::info!(
                server_name = report.server_name,
                server_version = report.server_version,
                protocol_versions = ?report.protocol_versions,
                tools = report.tools,
                "the backend answers"
            );
        }
        self.report.store(Arc::new(report));
        self.succeeded_once.store(true, Ordering::Relaxed);
    }

    /// What was learned before stays: the state says that it is old.
    fn failed(&self, trouble: Trouble) {
        let before = self.report.load();
        if before.error.as_deref() != Some(trouble.as_str()) {
            tracing::warn!(reason = trouble.as_str(), "the handshake with the backend failed");
        }
        let report = BackendReport {
            state: BackendState::Failed,
            error: Some(trouble.as_str().to_owned()),
            ..BackendReport::clone(&before)
        };
        self.report.store(Arc::new(report));
    }
}

fn mirrored(tools: &[Value]) -> HashMap<String, Mirrored> {
    let of = |tool: &Value| Mirrored::of(tool.get("inputSchema")?.as_object()?);
    tools.iter().filter_map(|tool| Some((catalog::name(tool).to_owned(), of(tool)?))).collect()
}
