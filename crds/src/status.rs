//! What the operator says of a server.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What the operator observed.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct McpServerStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed, Available, Exposed, Verified and Ready; Reconciling and Stalled while they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), schema_with = "schema::list_of::<Condition>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Where clients connect to. Published while the server is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Which member of `spec.backend` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What the server says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerInfo>,
    /// The tools it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<ToolsInfo>,
    /// How far the generated keys are made anew, once the annotation mcp-operator.dev/rotate-keys has asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysStatus>,
    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// Where clients connect to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// What a client types.
    pub url: String,
}

/// What the server says of itself.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The protocol revisions that it serves, newest first.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub protocol_versions: Vec<String>,
}

/// How far the generated keys are made anew. Sessions go on meanwhile.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeysStatus {
    /// The value of the annotation that asked for it.
    pub rotation: String,
    /// Announced: every pod learns to recognize the coming keys. Taken: they are in use, and those of before are
    /// recognized still. Done: those of before are gone.
    pub phase: KeysPhase,
    /// Since when.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// When the next phase begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub until: Option<String>,
}

/// How far the generated keys are made anew.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysPhase {
    /// The coming keys are recognized.
    Announced,
    /// They are in use, those of before are recognized.
    Taken,
    /// Those of before are gone.
    Done,
}

/// The tools that the server offers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolsInfo {
    /// How many.
    pub count: i32,
    /// SHA-256 over their definitions: changes when a tool does.
    pub digest: String,
}
