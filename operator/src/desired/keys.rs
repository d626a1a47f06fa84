//! Secret `<name>-keys`: the keys that the replicas of one server share.
//!
//! The only child that is created and never applied: its values are random, so there is nothing to converge to, and
//! writing them again would end every session. They are made anew with overlap when an annotation asks for it: see
//! `apply::rotation`.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mcp_crds::McpServer;

use super::identity::Identity;

/// Session ids.
pub const SESSION: &str = "session";
/// Sealing of request state.
pub const REQUEST_STATE: &str = "request-state";
/// Forwarding between the pods of one server.
pub const PEER: &str = "peer";

/// Annotation of the McpServer: any new value has the keys made anew.
pub const ROTATE: &str = "mcp-operator.dev/rotate-keys";
/// Annotation of the Secret: how far that is.
pub const ROTATION: &str = "mcp-operator.dev/rotation";

/// Bytes of each key.
pub const KEY_BYTES: usize = 32;

/// The Secret without its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(ObjectMeta);

/// Fresh keys, from the operating system's randomness.
pub struct Material {
    /// See [`SESSION`].
    pub session: [u8; KEY_BYTES],
    /// See [`REQUEST_STATE`].
    pub request_state: [u8; KEY_BYTES],
    /// See [`PEER`].
    pub peer: [u8; KEY_BYTES],
}

impl Material {
    /// Each key under its name, as a Secret has it.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, ByteString); 3] {
        let Self { session, request_state, peer } = self;
        [(SESSION, session), (REQUEST_STATE, request_state), (PEER, peer)]
            .map(|(name, key)| (name, ByteString(key.to_vec())))
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Material(redacted)")
    }
}

/// What the server's annotation asks for.
#[must_use]
pub fn request(server: &McpServer) -> Option<String> {
    server.metadata.annotations.as_ref()?.get(ROTATE).filter(|value| !value.is_empty()).cloned()
}

/// The Secret that must exist.
#[must_use]
pub fn build(id: &Identity) -> Template {
    Template(id.meta(id.keys_name()))
}

impl Template {
    /// Name, namespace, labels and owner of the Secret.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        &self.0
    }

    /// The Secret to POST. `rotation` is its annotation of that name.
    #[must_use]
    pub fn with(&self, material: &Material, rotation: String) -> Secret {
        Secret {
            metadata: ObjectMeta {
                annotations: Some(BTreeMap::from([(ROTATION.to_owned(), rotation)])),
                ..self.0.clone()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(material.entries().map(|(name, key)| (name.to_owned(), key)).into()),
            ..Secret::default()
        }
    }
}
