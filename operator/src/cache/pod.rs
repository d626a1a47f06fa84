//! What is kept of the pods of our servers, and of the ReplicaSets and EndpointSlices around them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::shared::Shared;
use super::table::{Entry, Index, Key};
use crate::desired::identity::OWNER_UID;
use crate::desired::migrations::APP as MIGRATIONS;
use crate::text::clean;

/// One pod.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Where it belongs.
    pub part: Part,
    /// It is being deleted.
    pub deleting: bool,
    /// It brings the database up to date, and serves nobody.
    pub migrates: bool,
    /// It is ready.
    pub ready: bool,
    /// Its own addresses, by the word of its kubelet.
    pub addresses: Vec<IpAddr>,
    /// Why it is not, as far as Kubernetes knows.
    pub failure: Option<PodFailure>,
}

/// Why a pod does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// For the person on call: container, exit code, last line of its standard error.
    pub message: String,
}

/// Kinds of failure that a pod's status tells apart, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// An image cannot be pulled.
    ImagePull,
    /// A container cannot be created: a key is missing, the image would run as root.
    Configuration,
    /// A container was killed for its memory.
    OutOfMemory,
    /// A container ends.
    Crash,
    /// No node takes the pod.
    Unschedulable,
}

/// Which server an object is part of, and what it is called.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its namespace and name.
    pub key: Key,
    resource_version: String,
    server: Option<Key>,
    /// UID of the McpServer, from our label.
    pub server_uid: Option<Shared>,
}

impl Part {
    fn of(metadata: ObjectMeta) -> Self {
        let namespace = Shared::from(metadata.namespace.unwrap_or_default());
        let mut labels = metadata.labels.unwrap_or_default();
        Self {
            server: labels.remove("app.kubernetes.io/instance").map(|name| Key::new(&namespace, name)),
            server_uid: labels.remove(OWNER_UID).map(Shared::from),
            key: Key::new(namespace, metadata.name.unwrap_or_default()),
            resource_version: metadata.resource_version.unwrap_or_default(),
        }
    }

    /// The McpServer that it is part of.
    #[must_use]
    pub fn server(&self) -> Option<&Key> {
        self.server.as_ref()
    }

    fn indexes(&self) -> Vec<Index> {
        self.server.iter().cloned().map(Index::Server).collect()
    }
}

impl PodView {
    /// Trims a pod.
    #[must_use]
    pub fn of(pod: Pod) -> Self {
        let status = pod.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let is = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
        let ready = is("Ready").is_some_and(|condition| condition.status == "True");
        let unschedulable = is("PodScheduled")
            .filter(|condition| condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
            .map(|condition| PodFailure {
                kind: FailureKind::Unschedulable,
                message: clean(condition.message.as_deref().unwrap_or("no node takes the pod")),
            });
        let containers = status.init_container_statuses.into_iter().chain(status.container_statuses).flatten();
        let failures = containers.filter_map(|container| container_failure(&container)).chain(unschedulable);
        let failure = if ready { None } else { failures.min_by_key(|failure| failure.kind) };
        let addresses = status.pod_ips.unwrap_or_default();
        let app = pod.metadata.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/name"));
        Self {
            migrates: app.is_some_and(|app| app == MIGRATIONS),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            ready,
            addresses: addresses.iter().filter_map(|address| address.ip.parse().ok()).collect(),
            failure,
            part: Part::of(pod.metadata),
        }
    }
}

fn container_failure(container: &ContainerStatus) -> Option<PodFailure> {
    let state = container.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    if let Some(waiting) = waiting {
        let kind = match waiting.reason.as_deref() {
            Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
                Some(FailureKind::ImagePull)
            }
            Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
                Some(FailureKind::Configuration)
            }
            _ => None,
        };
        if let Some(kind) = kind {
            let detail = waiting.message.as_deref().or(waiting.reason.as_deref()).unwrap_or_default();
            let subject = match kind {
                FailureKind::ImagePull => format!("image {} of container {}", container.image, container.name),
                _ => format!("container {}", container.name),
            };
            return Some(PodFailure { kind, message: format!("{subject}: {}", clean(detail)) });
        }
    }
    // While it runs again, the last end tells more than "running": the pod is still not ready.
    let ended = state
        .and_then(|state| state.terminated.as_ref())
        .or_else(|| container.last_state.as_ref().and_then(|state| state.terminated.as_ref()))?;
    if ended.exit_code == 0 || container.ready {
        return None;
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        let message = format!("container {} was killed: it used more memory than its limit", container.name);
        return Some(PodFailure { kind: FailureKind::OutOfMemory, message });
    }
    let last_line = ended.message.as_deref().unwrap_or_default().lines().rfind(|line| !line.trim().is_empty());
    let said = last_line.map(|line| format!(": {}", clean(line))).unwrap_or_default();
    let message = format!("container {} exited with code {}{said}", container.name, ended.exit_code);
    Some(PodFailure { kind: FailureKind::Crash, message })
}

impl Entry for PodView {
    fn key(&self) -> Key {
        self.part.key.clone()
    }
    fn resource_version(&self) -> &str {
        &self.part.resource_version
    }
    fn indexes(&self) -> Vec<Index> {
        self.part.indexes()
    }
}

/// Which ConfigMaps the pods of a ReplicaSet mount: those must stay while it exists, or it could not make a pod again.
#[derive(Clone, Debug)]
pub struct ReplicaSetView {
    /// Where it belongs.
    pub part: Part,
    /// Names of the ConfigMaps.
    pub config_maps: BTreeSet<String>,
}

impl ReplicaSetView {
    /// Trims a ReplicaSet.
    #[must_use]
    pub fn of(replica_set: ReplicaSet) -> Self {
        let template = replica_set.spec.and_then(|spec| spec.template).and_then(|template| template.spec);
        let volumes = template.and_then(|spec| spec.volumes).unwrap_or_default();
        let config_maps =
            volumes.into_iter().filter_map(|volume| volume.config_map).map(|source| source.name).collect();
        Self { part: Part::of(replica_set.metadata), config_maps }
    }
}

impl Entry for ReplicaSetView {
    fn key(&self) -> Key {
        self.part.key.clone()
    }
    fn resource_version(&self) -> &str {
        &self.part.resource_version
    }
    fn indexes(&self) -> Vec<Index> {
        self.part.indexes()
    }
}

/// The addresses behind a Service.
#[derive(Clone, Debug)]
pub struct SliceView {
    /// Where it belongs.
    pub part: Part,
    /// Its ports by name.
    pub ports: Vec<(String, u16)>,
    /// Its pods, not-ready ones too.
    pub endpoints: Vec<Endpoint>,
}

/// The address of one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name of the pod.
    pub pod: String,
    /// Its address.
    pub address: IpAddr,
    /// It takes traffic.
    pub ready: bool,
}

impl SliceView {
    /// Trims an EndpointSlice.
    #[must_use]
    pub fn of(slice: EndpointSlice) -> Self {
        let named =
            |port: k8s_openapi::api::discovery::v1::EndpointPort| Some((port.name?, u16::try_from(port.port?).ok()?));
        let endpoints = slice.endpoints.into_iter().filter_map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            if conditions.terminating == Some(true) {
                return None;
            }
            Some(Endpoint {
                pod: endpoint.target_ref?.name?,
                address: endpoint.addresses.first()?.parse().ok()?,
                ready: conditions.ready.unwrap_or(true),
            })
        });
        Self {
            endpoints: endpoints.collect(),
            ports: slice.ports.unwrap_or_default().into_iter().filter_map(named).collect(),
            part: Part::of(slice.metadata),
        }
    }
}

impl Entry for SliceView {
    fn key(&self) -> Key {
        self.part.key.clone()
    }
    fn resource_version(&self) -> &str {
        &self.part.resource_version
    }
    fn indexes(&self) -> Vec<Index> {
        self.part.indexes()
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failure(status: Value) -> Option<(FailureKind, String)> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap();
        PodView::of(pod).failure.map(|failure| (failure.kind, failure.message))
    }

    fn container(state: Value, last: Value) -> Value {
        json!({"containerStatuses": [{
            "name": "backend", "image": "acme/x:1", "imageID": "", "ready": false, "restartCount": 3, "state": state, "lastState": last
        }]})
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}});
        let (kind, message) = failure(container(waiting, json!({}))).unwrap();
        assert_eq!(kind, FailureKind::ImagePull);
        assert_eq!(message, "image acme/x:1 of container backend: Back-off pulling image");
    }

    #[test]
    fn a_crash_tells_its_exit_code_and_its_last_line() {
        let ended = json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "starting\nno such \u{1b}[31mfile\n\n"}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}});
        let (kind, message) = failure(container(waiting, ended)).unwrap();
        assert_eq!(kind, FailureKind::Crash);
        assert_eq!(message, "container backend exited with code 2: no such [31mfile");
    }

    #[test]
    fn a_crash_is_still_told_while_the_container_runs_again() {
        let ended = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        assert_eq!(failure(container(running, ended)).unwrap().0, FailureKind::Crash);
    }

    #[test]
    fn memory_is_told_apart_from_a_crash() {
        let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(failure(container(json!({}), ended)).unwrap().0, FailureKind::OutOfMemory);
    }

    #[test]
    fn a_pod_without_a_node_says_why() {
        let status = json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."
        }]});
        let (kind, message) = failure(status).unwrap();
        assert_eq!(
            (kind, message.as_str()),
            (FailureKind::Unschedulable, "0/1 nodes are available: 1 Insufficient memory.")
        );
    }

    #[test]
    fn a_pod_that_is_only_starting_has_no_failure() {
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(failure(container(waiting, json!({}))), None);
    }
}
