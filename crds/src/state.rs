//! Where sessions are kept: they must survive a pod where there is more than one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{KeyRef, schema};

/// Sessions of the 2025 protocol revisions. The 2026-07-28 revision has none.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Memory keeps sessions in the pod; Redis lets any replica serve any session. Default: Redis when `redis` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<SessionStore>")]
    pub store: Option<SessionStore>,
    /// Seconds without a request after which a session ends.
    #[serde(default = "default_idle")]
    #[schemars(range(min = 10, max = 604_800))]
    pub idle_timeout_seconds: i32,
    /// Sessions at once in each pod. Default: what the runtime's memory limit allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: Option<i32>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { store: None, idle_timeout_seconds: default_idle(), max: None }
    }
}

fn default_idle() -> i32 {
    1800
}

/// Where sessions are kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStore {
    /// In the pod that answered `initialize`.
    Memory,
    /// In the redis of `redis`.
    Redis,
}

/// The redis that replicas share.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// Secret key with the URL: redis://[user:password@]host:port/database, or rediss:// for TLS. Mounted, never read
    /// by the operator.
    pub url_secret_ref: KeyRef,
    /// Connections of each pod at most.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_connections: i32,
    /// Seconds after which a command without answer has failed.
    #[serde(default = "default_socket_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub socket_timeout_seconds: i32,
}

fn default_connections() -> i32 {
    50
}

fn default_socket_timeout() -> i32 {
    5
}
