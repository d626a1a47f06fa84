//! What is kept of an `McpServer`: the object, and what it is looked up by.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use mcp_crds::McpServer;

use super::table::{Entry, Index, Key};
use crate::resolve::references;

/// One `McpServer`.
#[derive(Clone, Debug)]
pub struct Server {
    key: Key,
    resource_version: String,
    hosts: Vec<String>,
    references: Vec<references::Reference>,
    /// The object, or why this release cannot read it: one such object must not stop the watch of all others.
    pub object: Result<Arc<McpServer>, Unreadable>,
}

/// An `McpServer` that does not have the form that this release expects.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Why it cannot be read.
    pub error: String,
}

impl Server {
    /// Reads one object of the watch.
    #[must_use]
    pub fn of(guard: DeserializeGuard<McpServer>) -> Self {
        match guard.0 {
            Ok(mut object) => {
                // Large, and read by nobody.
                object.metadata.managed_fields = None;
                Self {
                    key: key_of(&object.metadata),
                    resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
                    hosts: object.spec.expose.iter().flat_map(|expose| expose.hosts.clone()).collect(),
                    references: references::of(&object.spec),
                    object: Ok(Arc::new(object)),
                }
            }
            Err(invalid) => Self {
                key: key_of(&invalid.metadata),
                resource_version: invalid.metadata.resource_version.clone().unwrap_or_default(),
                hosts: Vec::new(),
                references: Vec::new(),
                object: Err(Unreadable { metadata: invalid.metadata, error: invalid.error }),
            },
        }
    }
}

fn key_of(metadata: &ObjectMeta) -> Key {
    Key::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
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
