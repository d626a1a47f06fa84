//! What our field manager owns of an object, read from `metadata.managedFields`.
//!
//! Values are never compared: the API server normalises quantities, fills in defaults, and webhooks rewrite. Ownership
//! tells what matters: whoever changes or removes a value that we set takes its path from our set.
//! The format: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value};

use super::shared::Shared;

use crate::desired::identity::MANAGER;

/// Stands for the UID of the owner. No key of a list is empty otherwise.
const OWNER: &str = "";

/// The paths that our manager owns, as compact JSON, a set each line. Several sets where an admission webhook rewrote
/// our own request: that is recorded as an update by the same manager. Shared: those of all servers are nearly the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(Shared);

impl FieldSet {
    /// Our entries among all of an object, whose owner has that UID.
    #[must_use]
    pub fn of(entries: &[ManagedFieldsEntry], owner: &str) -> Self {
        let ours = entries.iter().filter(|entry| {
            entry.manager.as_deref() == Some(MANAGER) && entry.subresource.as_deref().is_none_or(str::is_empty)
        });
        let mut sets: Vec<_> =
            ours.filter_map(|entry| entry.fields_v1.as_ref()).map(|fields| fields.0.to_string()).collect();
        sets.sort_unstable();
        // The one thing in it that no two servers have in common: the key of our owner reference.
        Self(sets.join("\n").replace(owner, OWNER).into())
    }

    fn sets(&self) -> impl Iterator<Item = Value> {
        self.0.lines().filter_map(|set| serde_json::from_str(set).ok())
    }

    /// A name for this very set. Only compared within one process.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether the field at that path is ours.
    #[must_use]
    pub fn owns(&self, path: &[&str]) -> bool {
        let mut found = self.sets().map(|set| {
            let mut steps = path.iter().map(|step| format!("f:{step}"));
            steps.try_fold(&set, |node, step| node.get(&step)).is_some()
        });
        found.any(|owned| owned)
    }

    /// The first path of `intent` that the set does not have, as in `.spec.replicas`.
    #[must_use]
    pub fn first_lost(&self, intent: &Value) -> Option<String> {
        let sets: Vec<Value> = self.sets().collect();
        let sets: Vec<&Value> = sets.iter().collect();
        let Value::Object(object) = intent else { return None };
        object.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind")).find_map(|(key, value)| {
            if key != "metadata" {
                return lost_field(key, value, &sets, "");
            }
            // The API server does not record who set name and namespace.
            let Value::Object(metadata) = value else { return None };
            let fields = descend(&sets, "f:metadata");
            metadata
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "name" | "namespace"))
                .find_map(|(key, value)| lost_field(key, value, &fields, ".metadata"))
        })
    }
}

fn lost_field(key: &str, value: &Value, parents: &[&Value], path: &str) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let path = format!("{path}.{key}");
    let fields = descend(parents, &format!("f:{key}"));
    lost(value, &fields, path)
}

/// `fields`: the nodes of our sets at this path. None: not ours. One without children: ours as a whole.
fn lost(value: &Value, fields: &[&Value], path: String) -> Option<String> {
    if fields.is_empty() {
        return Some(path);
    }
    if fields.iter().any(|node| node.as_object().is_none_or(Map::is_empty)) {
        return None;
    }
    match value {
        Value::Object(object) => object.iter().find_map(|(key, value)| lost_field(key, value, fields, &path)),
        Value::Array(items) => items.iter().enumerate().find_map(|(position, item)| {
            let nodes = item_nodes(item, fields);
            lost(item, &nodes, format!("{path}[{}]", item_name(item, position)))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn descend<'a>(nodes: &[&'a Value], key: &str) -> Vec<&'a Value> {
    nodes.iter().filter_map(|node| node.get(key)).collect()
}

/// The nodes of one list item: `k:{…}` has the keys of an associative list, `v:…` the value of a set.
fn item_nodes<'a>(item: &Value, lists: &[&'a Value]) -> Vec<&'a Value> {
    let children = lists.iter().filter_map(|list| list.as_object()).flatten();
    children.filter(|(name, _)| names_item(name, item)).map(|(_, node)| node).collect()
}

fn names_item(name: &str, item: &Value) -> bool {
    match name.split_once(':') {
        Some(("k", keys)) => {
            let Ok(Value::Object(keys)) = serde_json::from_str::<Value>(keys) else { return false };
            // A key that the item does not have was filled in by a default (the protocol of a port).
            keys.iter().all(|(key, value)| item.get(key).is_none_or(|own| own == value || value == OWNER))
                && keys.keys().any(|key| item.get(key).is_some())
        }
        Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
        _ => false,
    }
}

fn item_name(item: &Value, position: usize) -> String {
    item.get("name").and_then(Value::as_str).map_or_else(|| position.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, subresource: Option<&str>, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            subresource: subresource.map(str::to_owned),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    fn of(entries: &[ManagedFieldsEntry]) -> FieldSet {
        FieldSet::of(entries, "uid-1")
    }

    fn intent() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "demo", "namespace": "ns", "labels": {"a": "1"}},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"a": "1"}},
                "template": {"spec": {"containers": [{
                    "name": "mcp-server", "image": "x", "ports": [{"containerPort": 8000, "name": "mcp"}]
                }], "volumes": [{"name": "mcp-tmp", "emptyDir": {}}]}}
            }
        })
    }

    fn ours() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {"f:spec": {
                    "f:containers": {"k:{\"name\":\"mcp-server\"}": {
                        ".": {}, "f:name": {}, "f:image": {},
                        "f:ports": {"k:{\"containerPort\":8000,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {}}}
                    }},
                    "f:volumes": {"k:{\"name\":\"mcp-tmp\"}": {".": {}, "f:name": {}, "f:emptyDir": {}}}
                }}
            }
        })
    }

    #[test]
    fn what_we_applied_is_covered() {
        let set = of(&[entry(MANAGER, None, ours())]);
        assert_eq!(set.first_lost(&intent()), None);
    }

    #[test]
    fn servers_have_one_set_although_their_owner_references_differ() {
        let with_owner = |uid: &str| {
            let mut fields = ours();
            fields["f:metadata"]["f:ownerReferences"] = json!({format!("k:{{\"uid\":\"{uid}\"}}"): {}});
            FieldSet::of(&[entry(MANAGER, None, fields)], uid)
        };
        assert_eq!(with_owner("uid-1"), with_owner("uid-2"));
        let mut intent = intent();
        intent["metadata"]["ownerReferences"] = json!([{"kind": "McpServer", "name": "demo", "uid": "uid-1"}]);
        assert_eq!(with_owner("uid-1").first_lost(&intent), None);
        let lost = of(&[entry(MANAGER, None, ours())]).first_lost(&intent);
        assert_eq!(lost.as_deref(), Some(".metadata.ownerReferences"));
    }

    #[test]
    fn what_is_ours_is_known_by_its_path() {
        let set = of(&[entry(MANAGER, None, ours()), entry("hpa", None, json!({"f:spec": {"f:paused": {}}}))]);
        assert!(set.owns(&["spec", "replicas"]));
        assert!(!set.owns(&["spec", "paused"]) && !FieldSet::default().owns(&["spec", "replicas"]));
    }

    #[test]
    fn fields_that_others_added_do_not_matter() {
        let sidecar =
            json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"proxy\"}": {".": {}}}}}}});
        let set = of(&[entry(MANAGER, None, ours()), entry("injector", None, sidecar)]);
        assert_eq!(set.first_lost(&intent()), None);
    }

    #[test]
    fn a_value_that_somebody_took_is_named() {
        let mut fields = ours();
        fields["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        let taken = entry("kubectl-edit", None, json!({"f:spec": {"f:replicas": {}}}));
        let set = of(&[entry(MANAGER, None, fields), taken]);
        assert_eq!(set.first_lost(&intent()).as_deref(), Some(".spec.replicas"));
    }

    #[test]
    fn a_removed_list_item_is_named() {
        let mut fields = ours();
        fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"mcp-server\"}"]
            .as_object_mut()
            .unwrap()
            .remove("f:ports");
        let set = of(&[entry(MANAGER, None, fields)]);
        assert_eq!(set.first_lost(&intent()).as_deref(), Some(".spec.template.spec.containers[mcp-server].ports"));
    }

    #[test]
    fn what_a_webhook_rewrote_in_our_own_request_is_still_ours() {
        let mut applied = ours();
        applied["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        let rewritten = entry(MANAGER, None, json!({"f:spec": {"f:replicas": {}}}));
        let set = of(&[entry(MANAGER, None, applied), rewritten]);
        assert_eq!(set.first_lost(&intent()), None);
    }

    #[test]
    fn an_object_that_we_never_wrote_covers_nothing() {
        let status = entry(MANAGER, Some("status"), ours());
        assert_eq!(of(&[status]).first_lost(&intent()).as_deref(), Some(".metadata.labels"));
    }
}
