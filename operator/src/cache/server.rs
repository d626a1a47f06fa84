//! What is kept of an `McpServer`: the object, and what it is looked up by.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use mcp_crds::{McpServer, McpServerStatus};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::table::{Change, Entry, Index, Key, Table};
use crate::resolve::references;

/// One `McpServer`.
#[derive(Clone, Debug)]
pub struct Server {
    key: Key,
    resource_version: String,
    hosts: Vec<String>,
    references: Vec<references::Reference>,
    /// The object, or what is left of it.
    pub object: Read,
}

/// An `McpServer` as it was read: one that has another form must not stop the watch of all others.
pub type Read = Result<Arc<McpServer>, Unreadable>;

/// An `McpServer` that does not have the form that this release expects.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What was last said of it: its pods may run, written by another release or for an earlier spec.
    pub status: Option<McpServerStatus>,
    /// Why it cannot be read.
    pub error: String,
}

/// What the watch reads: never an error for as long as the object has metadata.
#[derive(Clone, Debug)]
pub struct Guard(pub Read);

impl<'de> Deserialize<'de> for Guard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        let error = match McpServer::deserialize(&object) {
            Ok(server) => return Ok(Self(Ok(Arc::new(server)))),
            Err(error) => error.to_string(),
        };
        let metadata = ObjectMeta::deserialize(object["metadata"].take()).map_err(D::Error::custom)?;
        let status = McpServerStatus::deserialize(object["status"].take()).ok();
        Ok(Self(Err(Unreadable { metadata, status, error })))
    }
}

impl Resource for Guard {
    type DynamicType = ();
    type Scope = <McpServer as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        McpServer::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        McpServer::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        McpServer::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        McpServer::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        metadata(&self.0)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(server) => &mut Arc::make_mut(server).metadata,
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

/// Also of one that cannot be read.
fn metadata(object: &Read) -> &ObjectMeta {
    object.as_ref().map_or_else(|unreadable| &unreadable.metadata, |server| &server.metadata)
}

impl Server {
    /// Reads one object of the watch.
    #[must_use]
    pub fn of(mut guard: Guard) -> Self {
        // Large, and read by nobody.
        guard.meta_mut().managed_fields = None;
        let metadata = guard.meta();
        let spec = guard.0.as_ref().ok().map(|server| &server.spec);
        Self {
            key: Key::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default()),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            hosts: spec.and_then(|spec| spec.expose.as_ref()).map(|expose| expose.hosts.clone()).unwrap_or_default(),
            references: spec.map(references::of).unwrap_or_default(),
            object: guard.0,
        }
    }

    /// The status, where nothing else that matters has changed since `before`.
    #[must_use]
    pub fn said_since(&self, before: &Self) -> Option<&McpServerStatus> {
        let (Ok(now), Ok(before)) = (&self.object, &before.object) else { return None };
        let ObjectMeta { generation, deletion_timestamp, labels, annotations, uid, .. } = &now.metadata;
        let was = &before.metadata;
        let same = *generation == was.generation
            && *deletion_timestamp == was.deletion_timestamp
            && (labels, annotations, uid) == (&was.labels, &was.annotations, &was.uid);
        now.status.as_ref().filter(|_| same)
    }

    /// Its UID.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        metadata(&self.object).uid.as_deref()
    }

    /// The status that it has.
    #[must_use]
    pub fn status(&self) -> Option<&McpServerStatus> {
        self.object.as_ref().map_or_else(|unreadable| unreadable.status.as_ref(), |server| server.status.as_ref())
    }

    /// The hosts that it has now. One that is being deleted gives its own up.
    fn claims(&self) -> &[String] {
        match &self.object {
            Ok(server) if server.metadata.deletion_timestamp.is_none() => &self.hosts,
            _ => &[],
        }
    }
}

/// The servers to which `change` makes a difference, because they have a host in common with it: see
/// `Resolved::shared_hosts`. None for most changes, those of the status above all, which would wake each other for ever.
pub(super) fn neighbours(change: &Change<Server>, servers: &Table<Server>) -> Vec<Key> {
    let claims = |server: &Option<Arc<Server>>| server.as_ref().map(|server| server.claims().to_vec());
    let (before, now) = (claims(&change.old).unwrap_or_default(), claims(&change.new).unwrap_or_default());
    if before == now {
        return Vec::new();
    }
    let turned =
        before.iter().filter(|host| !now.contains(host)).chain(now.iter().filter(|host| !before.contains(host)));
    let Some(changed) = change.entries().next().map(|server| server.key()) else { return Vec::new() };
    let others = turned.flat_map(|host| servers.find(&Index::Host(Key::new(&changed.namespace, host))));
    others.map(|other| other.key()).filter(|other| *other != changed).collect()
}

impl Entry for Server {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }

    fn indexes(&self) -> Vec<Index> {
        let namespace = &self.key.namespace;
        let hosts = self.hosts.iter().map(|host| Index::Host(Key::new(namespace, host)));
        let references = self
            .references
            .iter()
            .map(|reference| Index::Reference(reference.kind, Key::new(namespace, &reference.name)));
        hosts.chain(references).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, version: &str, hosts: &[&str]) -> Value {
        json!({
            "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": name, "namespace": "ns", "resourceVersion": version},
            "spec": {"backend": {"builtin": {}}, "expose": {"hosts": hosts}}
        })
    }

    fn read(object: &Value) -> Server {
        Server::of(Guard::deserialize(object).unwrap())
    }

    #[test]
    fn an_unreadable_server_keeps_its_metadata_and_what_was_said_of_it() {
        let mut broken = object("a", "1", &[]);
        broken["spec"]["replicas"] = json!("many");
        broken["status"] = json!({"replicas": 3});
        let Err(unreadable) = read(&broken).object else { panic!("it was read") };
        assert_eq!(unreadable.metadata.name.as_deref(), Some("a"));
        assert_eq!(unreadable.status.unwrap().replicas, 3);
        assert!(unreadable.error.contains("many"), "{}", unreadable.error);
    }

    #[test]
    fn a_status_alone_is_told_apart_from_every_other_change() {
        let before = read(&object("a", "1", &[]));
        let mut said = object("a", "2", &[]);
        said["status"] = json!({"replicas": 1});
        assert_eq!(read(&said).said_since(&before).map(|status| status.replicas), Some(1));
        for (field, value) in [
            ("generation", json!(2)),
            ("annotations", json!({"a": "b"})),
            ("labels", json!({"a": "b"})),
            ("deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            ("uid", json!("other")),
        ] {
            let mut changed = said.clone();
            changed["metadata"][field] = value;
            assert_eq!(read(&changed).said_since(&before), None, "{field}");
        }
    }

    #[test]
    fn servers_of_one_host_hear_of_each_other_only_when_hosts_change_hands() {
        let servers = Table::default();
        let see = |object: &Value| {
            let change = servers.put(read(object));
            neighbours(&change, &servers).into_iter().map(|key| key.name).collect::<Vec<_>>()
        };
        assert_eq!(see(&object("a", "1", &["x.example", "y.example"])), [""; 0]);
        assert_eq!(see(&object("b", "2", &["x.example"])), ["a"]);
        let mut said = object("b", "3", &["x.example"]);
        said["status"] = json!({"replicas": 1});
        assert_eq!(see(&said), [""; 0], "a status is nobody else's business");
        assert_eq!(see(&object("b", "4", &["y.example", "x.example"])), ["a"], "one more");
        assert_eq!(see(&object("b", "5", &["y.example"])), ["a"], "one less");
        let mut ending = object("b", "6", &["y.example"]);
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(see(&ending), ["a"], "a server that ends gives its hosts up");
        let gone = servers.remove(&Key::new("ns", "b"));
        assert_eq!(neighbours(&gone, &servers), [], "it had given them up");
        let gone = servers.remove(&Key::new("ns", "a"));
        assert_eq!(neighbours(&gone, &servers), []);
    }
}
