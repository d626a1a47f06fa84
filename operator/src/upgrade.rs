//! A changed default image of the runtime is given to a few servers at a time, and to no more once one of them does not
//! come back: an image that works nowhere must not stop every server of a cluster.
//!
//! ```text
//! plan ──── whose turn is it? ──▶ Turn::Now (the new image) | Turn::Later (the one that it has)
//! report ── how is it now? ─────▶ done: the next one is woken | failed: nobody is
//! ```
//!
//! A server that was ready before carries what it had in an annotation of its Deployment: a restarted operator knows by it
//! which servers it is still waiting for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use mcp_crds::{McpServer, McpServerStatus};
use tracing::{info, warn};

use crate::cache::{Cache, Child, Key};
use crate::kind::Kind;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::status::{Reason, Type, conditions, find};

/// Annotation of the Deployment of a server that was ready with another image of the runtime: that image.
pub const BEFORE: &str = "mcp-operator.dev/runtime-before";

/// Which image of the runtime a server gets now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Another one than the installation's.
    pub image: Option<String>,
    /// The one that it was ready with before.
    pub before: Option<String>,
    /// It waits for its turn: why.
    pub waits: Option<&'static str>,
}

/// Waits while others are upgraded.
const LATER: &str = "a few servers are upgraded at a time, and this one waits";
/// Waits for a person.
const HALTED: &str =
    "the upgrade has halted, because a server that was upgraded did not become ready; the operator's log names it";

/// Who is upgraded, and who waits.
pub struct Upgrades {
    image: String,
    at_once: usize,
    queue: Queue,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: BTreeSet<Key>,
    rolling: BTreeMap<Key, Rolling>,
}

#[derive(Clone, Copy, Debug)]
struct Rolling {
    /// It was ready before: if it is not afterwards, the image is to blame.
    was_ready: bool,
    failed: bool,
}

impl State {
    fn has_failed(&self) -> bool {
        self.rolling.values().any(|rolling| rolling.failed && rolling.was_ready)
    }
}

impl Upgrades {
    /// `image`: the installation's; `at_once`: servers that get it at the same time.
    #[must_use]
    pub fn new(image: String, at_once: u16, queue: Queue, metrics: Arc<Metrics>) -> Self {
        Self { image, at_once: at_once.max(1).into(), queue, metrics, state: Mutex::default() }
    }

    /// Learns from the cluster which servers were being upgraded when an earlier process ended.
    pub fn resume(&self, cache: &Cache) {
        let mut state = self.state();
        for server in cache.servers.all() {
            let Ok(object) = &server.object else { continue };
            let key = crate::cache::Entry::key(server.as_ref());
            let Some(deployment) = cache.children(Kind::Deployment).get(&key) else { continue };
            let is_upgraded =
                deployment.runtime().is_some_and(|(image, before)| image == self.image && before.is_some());
            if is_upgraded && object.spec.runtime.image.is_none() && !is_true(conditions(object), Type::Ready) {
                state.rolling.insert(key, Rolling { was_ready: true, failed: false });
            }
        }
        self.count(&state);
    }

    /// Which image that server gets.
    #[must_use]
    pub fn turn(&self, server: &McpServer, key: &Key, deployment: Option<&Child>) -> Turn {
        let observed = deployment.and_then(Child::runtime);
        let Some((image, before)) = observed.filter(|_| server.spec.runtime.image.is_none()) else {
            self.forget(key);
            return Turn::default();
        };
        if image == self.image {
            return Turn { before: before.map(str::to_owned), ..Turn::default() };
        }
        let was_ready = is_true(conditions(server), Type::Ready);
        let mut state = self.state();
        if !state.rolling.contains_key(key) {
            let halted = state.has_failed();
            if halted || state.rolling.len() >= self.at_once {
                state.waiting.insert(key.clone());
                self.count(&state);
                return Turn {
                    image: Some(image.to_owned()),
                    before: before.map(str::to_owned),
                    waits: Some(if halted { HALTED } else { LATER }),
                };
            }
            info!(server = %key, from = image, to = self.image, "upgrading the runtime");
            state.waiting.remove(key);
            state.rolling.insert(key.clone(), Rolling { was_ready, failed: false });
            self.count(&state);
        }
        let was_ready = state.rolling.get(key).is_some_and(|rolling| rolling.was_ready);
        Turn { before: was_ready.then(|| image.to_owned()), ..Turn::default() }
    }

    /// The image that a server has, whatever the installation's is.
    #[must_use]
    pub fn stay(deployment: Option<&Child>) -> Turn {
        let Some((image, before)) = deployment.and_then(Child::runtime) else { return Turn::default() };
        Turn { image: Some(image.to_owned()), before: before.map(str::to_owned), waits: None }
    }

    /// What is said of a server now: it may be done, or have failed.
    pub fn observe(&self, key: &Key, deployment: Option<&Child>, status: &McpServerStatus) {
        let mut state = self.state();
        let Some(&rolling) = state.rolling.get(key) else { return };
        let Some(deployment) = deployment.filter(|child| child.runtime().is_some_and(|(image, _)| image == self.image))
        else {
            return;
        };
        match progress(deployment, &status.conditions) {
            Progress::Under => {}
            Progress::Done => {
                state.rolling.remove(key);
                self.wake(&state);
            }
            // It was not ready before either: it tells nothing of the image.
            Progress::Failed if !rolling.was_ready => {
                state.rolling.remove(key);
                self.wake(&state);
            }
            Progress::Failed if rolling.failed => {}
            Progress::Failed => {
                state.rolling.insert(key.clone(), Rolling { failed: true, ..rolling });
                let waiting = state.waiting.len();
                warn!(server = %key, image = self.image, waiting, "the upgrade of the runtime halts: this server did not become ready");
                // They say so.
                state.waiting.iter().for_each(|server| self.queue.push(server.clone()));
            }
        }
        self.count(&state);
    }

    /// The server is gone, or is not upgraded any more.
    pub fn forget(&self, key: &Key) {
        let mut state = self.state();
        let waited = state.waiting.remove(key);
        let rolled = state.rolling.remove(key).is_some();
        if rolled {
            self.wake(&state);
        }
        if waited || rolled {
            self.count(&state);
        }
    }

    /// Those whose turn has come.
    fn wake(&self, state: &State) {
        if state.has_failed() {
            return;
        }
        let free = self.at_once.saturating_sub(state.rolling.len());
        state.waiting.iter().take(free).for_each(|server| self.queue.push(server.clone()));
    }

    fn count(&self, state: &State) {
        let failed = state.rolling.values().filter(|rolling| rolling.failed).count();
        self.metrics.upgrades(state.waiting.len(), state.rolling.len() - failed, failed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Under,
    Done,
    Failed,
}

/// Until the new pods have replaced the old ones, what is said of the server is said of the old ones.
fn progress(deployment: &Child, conditions: &[Condition]) -> Progress {
    let Some(rollout) = deployment.rollout() else { return Progress::Under };
    let unseen = rollout.observed_generation < deployment.generation;
    let settled = !unseen && rollout.updated >= rollout.replicas;
    let has = |kind: Type, reason: Reason| {
        find(conditions, kind).is_some_and(|condition| condition.reason == reason.as_str())
    };
    if !unseen && (has(Type::Available, Reason::RolloutStalled) || is_true(conditions, Type::Stalled)) {
        return Progress::Failed;
    }
    match find(conditions, Type::Ready).map(|condition| condition.status.as_str()) {
        Some("True") if settled => Progress::Done,
        Some("False") if settled && !has(Type::Available, Reason::Starting) => Progress::Failed,
        _ => Progress::Under,
    }
}

fn is_true(conditions: &[Condition], kind: Type) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::UnboundedReceiver;
    use serde_json::json;

    use super::*;
    use crate::desired::deployment::RUNTIME;

    fn upgrades(at_once: u16) -> (Upgrades, UnboundedReceiver<Key>) {
        let (queue, woken) = Queue::new();
        (Upgrades::new("new".to_owned(), at_once, queue, Arc::new(Metrics::new(false).unwrap())), woken)
    }

    fn server(name: &str, ready: &str) -> McpServer {
        serde_json::from_value(json!({
            "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": name, "namespace": "ns"}, "spec": {"backend": {"builtin": {}}},
            "status": said(ready, "Ready"),
        }))
        .unwrap()
    }

    fn said(ready: &str, reason: &str) -> McpServerStatus {
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": ready, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"
            })
        };
        serde_json::from_value(json!({"conditions": [condition("Ready"), condition("Available")]})).unwrap()
    }

    fn deployment(image: &str, before: Option<&str>) -> Child {
        let annotations = before.map(|before| json!({BEFORE: before})).unwrap_or(json!({}));
        let deployment = json!({
            "metadata": {"name": "a", "namespace": "ns", "generation": 1, "annotations": annotations},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": RUNTIME, "image": image}]}}},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1},
        });
        Child::of_deployment(serde_json::from_value(deployment).unwrap())
    }

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    fn waits(upgrades: &Upgrades, name: &str) -> Option<&'static str> {
        upgrades.turn(&server(name, "True"), &key(name), Some(&deployment("old", None))).waits
    }

    #[test]
    fn a_few_are_upgraded_at_a_time_and_the_next_is_woken() {
        let (upgrades, mut woken) = upgrades(2);
        assert_eq!((waits(&upgrades, "a"), waits(&upgrades, "b")), (None, None));
        assert_eq!((waits(&upgrades, "c"), waits(&upgrades, "d")), (Some(LATER), Some(LATER)));
        assert_eq!(waits(&upgrades, "a"), None, "it has its turn already");
        upgrades.observe(&key("a"), Some(&deployment("old", None)), &said("True", "Ready"));
        assert!(woken.try_recv().is_err(), "what is ready is the old image");
        upgrades.observe(&key("a"), Some(&deployment("new", Some("old"))), &said("True", "Ready"));
        assert_eq!(woken.try_recv().unwrap(), key("c"));
        assert_eq!((waits(&upgrades, "c"), waits(&upgrades, "d")), (None, Some(LATER)));
    }

    #[test]
    fn the_first_that_fails_halts_the_others_until_it_is_ready() {
        let (upgrades, mut woken) = upgrades(2);
        waits(&upgrades, "a");
        let upgraded = deployment("new", Some("old"));
        upgrades.observe(&key("a"), Some(&upgraded), &said("Unknown", "RollingOut"));
        assert_eq!(waits(&upgrades, "b"), None, "not failed yet");
        assert_eq!(waits(&upgrades, "c"), Some(LATER));
        upgrades.observe(&key("a"), Some(&upgraded), &said("False", "Crashing"));
        assert_eq!(woken.try_recv().unwrap(), key("c"), "it says so");
        assert_eq!(waits(&upgrades, "c"), Some(HALTED));
        upgrades.observe(&key("b"), Some(&upgraded), &said("True", "Ready"));
        assert_eq!(waits(&upgrades, "c"), Some(HALTED), "a free place is nobody's");
        upgrades.observe(&key("a"), Some(&upgraded), &said("True", "Ready"));
        assert_eq!(waits(&upgrades, "c"), None);
    }

    #[test]
    fn a_server_that_was_broken_before_tells_nothing_of_the_image() {
        let (upgrades, _woken) = upgrades(1);
        let broken = upgrades.turn(&server("a", "False"), &key("a"), Some(&deployment("old", None)));
        assert_eq!(broken, Turn::default());
        upgrades.observe(&key("a"), Some(&deployment("new", None)), &said("False", "Crashing"));
        assert_eq!(waits(&upgrades, "b"), None);
    }

    #[test]
    fn what_a_server_waits_with_is_what_it_has() {
        let (upgrades, _woken) = upgrades(1);
        let first = upgrades.turn(&server("a", "True"), &key("a"), Some(&deployment("old", None)));
        assert_eq!(first, Turn { before: Some("old".to_owned()), ..Turn::default() });
        let second = upgrades.turn(&server("b", "True"), &key("b"), Some(&deployment("older", Some("oldest"))));
        assert_eq!((second.image.as_deref(), second.before.as_deref()), (Some("older"), Some("oldest")));
        let done = upgrades.turn(&server("c", "True"), &key("c"), Some(&deployment("new", Some("old"))));
        assert_eq!(done, Turn { before: Some("old".to_owned()), ..Turn::default() }, "the annotation stays");
        assert_eq!(
            upgrades.turn(&server("d", "True"), &key("d"), None),
            Turn::default(),
            "a new server waits for nobody"
        );
    }

    #[test]
    fn a_pinned_image_is_nobody_elses_business() {
        let (upgrades, _woken) = upgrades(1);
        let mut pinned = server("a", "True");
        pinned.spec.runtime.image = Some("mine".to_owned());
        assert_eq!(upgrades.turn(&pinned, &key("a"), Some(&deployment("old", None))), Turn::default());
        assert_eq!(waits(&upgrades, "b"), None);
    }

    #[test]
    fn a_restarted_operator_still_waits_for_who_was_upgraded() {
        use crate::cache::{Guard, Server};
        let (upgrades, _woken) = upgrades(1);
        let cache = Cache::default();
        cache.servers.put(Server::of(Guard(Ok(Arc::new(server("a", "False"))))));
        cache.children(Kind::Deployment).put(deployment("new", Some("old")));
        upgrades.resume(&cache);
        assert_eq!(waits(&upgrades, "b"), Some(LATER));
        upgrades.observe(&key("a"), Some(&deployment("new", Some("old"))), &said("False", "Crashing"));
        assert_eq!(waits(&upgrades, "b"), Some(HALTED));
    }
}
