//! References to keys of Secrets and ConfigMaps. Always in the server's own namespace.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One key of a Secret or ConfigMap in the server's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key inside the object.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A PEM bundle of certificate authorities, mounted into the runtime. Exactly one source.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.configMapKeyRef) != has(self.secretKeyRef)",
    "set exactly one of configMapKeyRef and secretKeyRef"
))]
pub struct CaBundle {
    /// The bundle is a key of this ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// The bundle is a key of this Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}
