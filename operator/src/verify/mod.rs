//! Asks running servers whether they serve as their spec says. By HTTP to pods and Services, never by the API server
//! (but for `--probe-via=port-forward`), and outside of the reconcile: a server that answers slowly delays only itself.
//!
//! ```text
//! reconcile ── target ──▶ task of that server: ask every pod /server, then the Service without a token
//! reconcile ◀─ findings ── woken when they change; judged together with what Kubernetes says
//! ```

mod ask;
mod findings;
mod judge;
mod question;
mod service;
mod target;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use rand::Rng;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::debug;

pub use ask::Via;
pub use findings::{Anonymous, Findings, PodAnswer, Trouble};
pub use judge::{Judgement, judge};
pub use target::Target;
pub use tls::PodTls;

use self::question::Question;
use service::LastAnswer;

use crate::cache::Key;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// Between two rounds while everything is well.
const SLOW: Duration = Duration::from_secs(60);
/// Between two rounds while something is expected to change soon.
const FAST: Duration = Duration::from_secs(1);
/// The fast rounds become slower up to this while nothing changes.
const FAST_LAST: Duration = Duration::from_secs(15);
/// Fast rounds that stay fast: the kubelet takes about a minute to bring a changed ConfigMap.
const FAST_ROUNDS: u32 = 120;
/// A roll-out changes the target with each pod: what changes within so short a time is asked about once.
const CALM: Duration = Duration::from_millis(500);
/// Questions at the same time, of all servers together.
const AT_ONCE: usize = 64;

/// Asks every server that it was told of, over and over.
pub struct Verifier {
    tasks: Mutex<HashMap<Key, Task>>,
    asker: Arc<Asker>,
}

struct Asker {
    via: Via,
    at_once: Semaphore,
    queue: Queue,
    metrics: Arc<Metrics>,
}

/// What was found last.
type Latest = Arc<Mutex<Option<Arc<Findings>>>>;

struct Task {
    target: watch::Sender<Arc<Target>>,
    findings: Latest,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Verifier {
    /// A verifier that wakes reconciles by `queue`.
    #[must_use]
    pub fn new(via: Via, queue: Queue, metrics: Arc<Metrics>) -> Self {
        let asker = Asker { via, at_once: Semaphore::new(AT_ONCE), queue, metrics };
        Self { tasks: Mutex::default(), asker: Arc::new(asker) }
    }

    /// Sees to it that `target` is asked, and returns what was found last. Must be called within a runtime.
    pub fn observe(&self, target: &Target) -> Option<Arc<Findings>> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if target.pods.is_empty() {
            tasks.remove(&target.server);
            return None;
        }
        if let Some(task) = tasks.get(&target.server).filter(|task| task.target.borrow().uid == target.uid) {
            task.target.send_if_modified(|current| {
                let changed = **current != *target;
                if changed {
                    *current = Arc::new(target.clone());
                }
                changed
            });
            return task.findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let server = target.server.clone();
        let (sender, receiver) = watch::channel(Arc::new(target.clone()));
        let findings = Arc::default();
        let work = Arc::clone(&self.asker).run(receiver, Arc::clone(&findings));
        let handle = tokio::spawn(work).abort_handle();
        tasks.insert(server, Task { target: sender, findings, handle });
        None
    }

    /// Stops asking a server.
    pub fn forget(&self, server: &Key) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(server);
    }
}

impl Asker {
    async fn run(self: Arc<Self>, mut targets: watch::Receiver<Arc<Target>>, latest: Latest) {
        let (mut quiet_rounds, mut answer) = (0, None);
        loop {
            let target = Arc::clone(&targets.borrow_and_update());
            let before = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let misses = before.as_ref().map_or(0, |findings| findings.misses);
            // Boxed: it is large, and of a thousand servers nearly all only wait for the next round.
            let found = Box::pin(self.round(&target, misses, &mut answer)).await;
            let settled = is_settled(&target, &found);
            quiet_rounds = if before.as_deref() == Some(&found) { quiet_rounds + 1 } else { 0 };
            if quiet_rounds == 0 {
                debug!(server = %target.server, settled, "findings changed");
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(found));
                self.queue.push(target.server.clone());
            }
            tokio::select! {
                () = sleep(pause(settled, quiet_rounds)) => {}
                changed = targets.changed() => match changed {
                    Ok(()) => {
                        quiet_rounds = 0;
                        sleep(CALM).await;
                    }
                    Err(_) => return,
                },
            }
        }
    }

    /// Pods first: while one still has another configuration, the Service's answer would tell nothing.
    async fn round(&self, target: &Target, misses: u32, answer: &mut Option<LastAnswer>) -> Findings {
        let reports = target.pods.iter().map(|pod| async {
            // Never closed: waiting cannot fail.
            let _permit = self.at_once.acquire().await;
            let report = self.via.report(target, pod).await.map_err(|unanswered| unanswered.to_string());
            PodAnswer { pod: pod.pod.clone(), ready: pod.ready, report }
        });
        let mut found = Findings {
            live_digest: target.live_digest.clone(),
            enforced_auth: target.enforces_auth,
            pods: join_all(reports).await,
            anonymous: None,
            misses: 0,
        };
        let mut asked = true;
        if target.ready_pods().next().is_some() && found.is_reloaded() {
            asked = answer.as_ref().is_none_or(|answer| answer.fresh(target, Instant::now()).is_none());
            if asked {
                let needs_certificate = target.tls.as_ref().is_some_and(|tls| tls.needs_client_certificate);
                let anonymous = if needs_certificate {
                    Anonymous::NotAdmitted
                } else {
                    let _permit = self.at_once.acquire().await;
                    self.via.anonymous(target, &Question::of(found.report())).await
                };
                *answer = Some(LastAnswer::after(answer.as_ref(), anonymous, target, Instant::now()));
            }
            found.anonymous = answer.as_ref().map(|answer| answer.answer().clone());
        }
        if !found.is_complete() {
            // What was not asked again was not missed again.
            let again = u32::from(asked || !found.pods_answered());
            found.misses = misses.saturating_add(again).clamp(1, judge::PATIENCE);
        }
        self.metrics.asked(found.is_complete());
        found
    }
}

/// Whether nothing is expected to change by itself.
fn is_settled(target: &Target, found: &Findings) -> bool {
    let all_ready = target.pods.iter().all(|pod| pod.ready);
    let judged = matches!(judge(target, Some(found), Timestamp::now()), Judgement::Say(verdict) if verdict.holds());
    all_ready && (judged || found.anonymous == Some(Anonymous::Limited))
}

fn pause(settled: bool, quiet_rounds: u32) -> Duration {
    let pause = match quiet_rounds {
        _ if settled => SLOW,
        0..FAST_ROUNDS => FAST,
        more => FAST.saturating_mul(more - FAST_ROUNDS + 2).min(FAST_LAST),
    };
    // Not all servers at the same moment.
    pause.mul_f64(rand::rng().random_range(0.9..1.1))
}
