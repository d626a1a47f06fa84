//! Names, labels, selector and owner of every child, decided once.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use mcp_crds::McpServer;

use super::Invalid;

/// `app.kubernetes.io/managed-by` of every child, and the field manager of every write.
pub const MANAGER: &str = "mcp-operator";
/// `app.kubernetes.io/name` of every child.
pub const APP: &str = "mcp-server";
/// Label with the UID of the `McpServer` that a child belongs to: a name may come back, a UID does not.
pub const OWNER_UID: &str = "mcp-operator.dev/owner-uid";
/// Label that tells the ConfigMaps of one server apart: [`BOOT`] or [`LIVE`].
pub const CONFIG: &str = "mcp-operator.dev/config";
/// [`CONFIG`] of boot files.
pub const BOOT: &str = "boot";
/// [`CONFIG`] of live files.
pub const LIVE: &str = "live";

/// Who a child belongs to, and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Name of the `McpServer`, its Deployment, Service, Ingress, NetworkPolicy and ServiceAccount.
    pub name: String,
    /// Namespace of all of them.
    pub namespace: String,
    /// UID of the `McpServer`.
    pub uid: String,
    owner: OwnerReference,
}

impl Identity {
    /// Reads the identity of a server that came from the API server.
    ///
    /// # Errors
    /// When name, namespace or UID are missing: the object has never been stored.
    pub fn of(server: &McpServer) -> Result<Self, Invalid> {
        let unstored = |field: &str| {
            Invalid::new(format!("metadata.{field}"), "is missing", "create the McpServer in a namespace first")
        };
        let namespace = server.namespace().ok_or_else(|| unstored("namespace"))?;
        let uid = server.uid().ok_or_else(|| unstored("uid"))?;
        let owner = server.controller_owner_ref(&()).ok_or_else(|| unstored("name"))?;
        Ok(Self { name: owner.name.clone(), namespace, uid, owner })
    }

    /// `<name>-live`.
    #[must_use]
    pub fn live_config_name(&self) -> String {
        format!("{}-live", self.name)
    }

    /// `<name>-boot-<hash>`.
    #[must_use]
    pub fn boot_config_name(&self, hash: &str) -> String {
        format!("{}-boot-{hash}", self.name)
    }

    /// `<name>-keys`.
    #[must_use]
    pub fn keys_name(&self) -> String {
        format!("{}-keys", self.name)
    }

    /// `<name>-m-<hash>`: a Job's name becomes a label, so that there is room for no longer word.
    #[must_use]
    pub fn migrations_name(&self, hash: &str) -> String {
        format!("{}-m-{hash}", self.name)
    }

    /// The controller owner reference of every child: children go with their server.
    #[must_use]
    pub fn owner(&self) -> &OwnerReference {
        &self.owner
    }

    /// Labels of every child.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector_labels();
        labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
        labels.insert("app.kubernetes.io/part-of".to_owned(), self.name.clone());
        labels
    }

    /// What selects the pods of this server and of no other, not even of an earlier one with the same name. A
    /// Deployment's selector cannot change: neither may this set.
    #[must_use]
    pub fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selector_labels()), ..LabelSelector::default() }
    }

    /// The selector as a map, as a Service has it.
    #[must_use]
    pub fn selector_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), APP.to_owned()),
            ("app.kubernetes.io/instance".to_owned(), self.name.clone()),
            (OWNER_UID.to_owned(), self.uid.clone()),
        ])
    }

    /// The selector as text, as `status.selector` has it.
    #[must_use]
    pub fn selector_text(&self) -> String {
        let pairs: Vec<_> = self.selector_labels().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    }

    /// Metadata of the child `name`: namespace, labels, owner.
    #[must_use]
    pub fn meta(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// So many hexadecimal digits of the text's digest, for the names of what is made of it.
pub(super) fn short_digest(text: &str, digits: usize) -> String {
    mcp_server_config::digest(text).trim_start_matches("sha256:").chars().take(digits).collect()
}
