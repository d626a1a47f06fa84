//! What callers may do: scopes of tools and methods, and which tools there are at all.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Scopes that calls of some tools need.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
pub struct ToolScopes {
    /// Names of tools; `*` stands for any characters, as in `delete_*`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub tools: Vec<String>,
    /// The scopes that a call needs, all of them.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128), regex(pattern = r"^[!#-\[\]-~]+$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub scopes: Vec<String>,
}

/// Scopes that some methods need.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
pub struct MethodScopes {
    /// Names of MCP methods; `*` stands for any characters, as in `resources/*`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub methods: Vec<String>,
    /// The scopes that a message needs, all of them.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128), regex(pattern = r"^[!#-\[\]-~]+$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub scopes: Vec<String>,
}

/// Which tools of the backend there are for clients.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// Tools that are listed and may be called; `*` stands for any characters, as in `get_*`.
    #[serde(default = "every")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 256), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub allow: Vec<String>,
    /// Those of them that are hidden all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub deny: Vec<String>,
}

impl Default for Tools {
    fn default() -> Self {
        Self { allow: every(), deny: Vec::new() }
    }
}

fn every() -> Vec<String> {
    vec!["*".to_owned()]
}
