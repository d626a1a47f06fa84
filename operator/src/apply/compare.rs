//! Whether a child is ours, and whether it is as we applied it. Pure.

use std::fmt;

use super::Manifest;
use crate::cache::{Child, Owner};
use crate::desired::Identity;
use crate::error::Error;

/// What is to be done about a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing: what we applied last is what we want, and it is all still ours.
    None,
    /// It does not exist.
    Absent,
    /// We want something else than before.
    Intent,
    /// Somebody changed or removed what we set; the first such field.
    Drift(String),
}

impl Difference {
    /// A word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Absent => "created",
            Self::Intent => "changed",
            Self::Drift(_) => "repaired",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drift(path) => write!(formatter, "repaired {path}"),
            other => formatter.write_str(other.label()),
        }
    }
}

/// Compares a child with what is wanted. `settled` tells whether the child's field set is the very one that our last
/// write left: what the API server dropped then it would drop again.
pub fn compare(wanted: &Manifest, found: &Child, settled: impl FnOnce(&Child) -> bool) -> Difference {
    if found.intent.as_deref() != Some(&wanted.digest) {
        return Difference::Intent;
    }
    if settled(found) {
        return Difference::None;
    }
    found.fields.first_lost(&wanted.body).map_or(Difference::None, Difference::Drift)
}

/// Refuses objects that are not this server's. One that carries our owner reference is ours, whoever made it.
///
/// # Errors
/// Names the object and who has it.
pub fn guard(found: &Child, id: &Identity) -> Result<(), Error> {
    let (kind, name) = (found.kind, found.key.name.to_string());
    match &found.owner {
        Some(owner) if owner.uid == id.uid && !found.deleting => Ok(()),
        // Its namesake was deleted; the garbage collector is on its way.
        Some(owner) if owner.uid == id.uid || owner.name == id.name => Err(Error::Terminating { kind, name }),
        Some(Owner { name: other, .. }) => {
            Err(Error::Conflict { kind, name, holder: format!("it belongs to McpServer {other}") })
        }
        None => Err(Error::Conflict { kind, name, holder: "it has no owner reference to it".to_owned() }),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::{FieldSet, INTENT};
    use crate::kind::Kind;

    fn wanted() -> Manifest {
        Manifest {
            kind: Kind::Service,
            name: "demo".to_owned(),
            body: json!({"metadata": {"name": "demo"}, "spec": {"type": "ClusterIP"}}),
            digest: "d1".to_owned(),
        }
    }

    fn found(intent: &str, fields: serde_json::Value) -> Child {
        let metadata = serde_json::from_value(json!({
            "name": "demo", "namespace": "ns", "annotations": {INTENT: intent},
            "ownerReferences": [{"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "name": "demo", "uid": "u1", "controller": true}],
            "managedFields": [{"manager": "mcp-operator", "operation": "Apply", "fieldsV1": fields}]
        }));
        Child::of(Kind::Service, metadata.unwrap())
    }

    fn identity(uid: &str) -> Identity {
        let server = serde_json::from_value(json!({
            "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": "demo", "namespace": "ns", "uid": uid}, "spec": {"backend": {"builtin": {}}}
        }));
        Identity::of(&server.unwrap()).unwrap()
    }

    #[test]
    fn a_child_as_we_applied_it_needs_nothing() {
        let child = found("d1", json!({"f:spec": {"f:type": {}}}));
        assert_eq!(compare(&wanted(), &child, |_| false), Difference::None);
    }

    #[test]
    fn another_intent_and_a_lost_field_are_written() {
        let fields = json!({"f:spec": {"f:ports": {}}});
        assert_eq!(compare(&wanted(), &found("d0", fields.clone()), |_| true), Difference::Intent);
        let drift = Difference::Drift(".spec.type".to_owned());
        assert_eq!(compare(&wanted(), &found("d1", fields), |_| false), drift);
    }

    #[test]
    fn what_the_api_server_dropped_from_our_own_write_is_not_written_again() {
        let child = found("d1", json!({}));
        let ours = child.fields.fingerprint();
        assert_eq!(compare(&wanted(), &child, |child| child.fields.fingerprint() == ours), Difference::None);
        assert_ne!(FieldSet::default().fingerprint(), ours);
    }

    #[test]
    fn only_our_own_objects_are_touched() {
        let ours = found("d1", json!({}));
        assert!(guard(&ours, &identity("u1")).is_ok());
        assert!(matches!(guard(&ours, &identity("u2")), Err(Error::Terminating { .. })), "an earlier demo's");
        let foreign = Child { owner: None, ..ours };
        assert!(matches!(guard(&foreign, &identity("u1")), Err(Error::Conflict { .. })));
    }
}
