//! How often clients may call.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often clients may call.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    /// Per client address, checked before authentication. On by default. Each pod counts on its own and gets its share
    /// of the rate: requests and burst divided by the replicas, rounded up. Behind a proxy that `expose.trustedProxies`
    /// does not name all clients have one address: only failed authentications count then.
    #[serde(default)]
    pub per_client: RateLimit,
}

/// A rate: `requests` per `per`, with bursts of up to `burst`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests in each period. 0 switches the limit off.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub requests: i32,
    /// The period: a number with s, m or h, as in 1m.
    #[serde(default = "one_minute")]
    #[schemars(length(min = 2, max = 8))]
    #[x_kube(validation = ("self.matches('^[1-9][0-9]{0,5}[smh]$')", "write a number and s, m or h, as in 30s, 1m or 1h"))]
    pub per: String,
    /// Requests that may come at once. Default: `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests: hundred(), per: one_minute(), burst: None }
    }
}

fn hundred() -> i32 {
    100
}

fn one_minute() -> String {
    "1m".to_owned()
}
