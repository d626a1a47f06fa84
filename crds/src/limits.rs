//! How often clients may call.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

const PERIOD_RULE: &str = "self.matches('^[1-9][0-9]{0,5}[smh]$')";
const PERIOD_MESSAGE: &str = "write a number and s, m or h, as in 30s, 1m or 1h";

/// How often clients may call. A rate is that of all pods together: with `redis` they share it; without, or while redis is
/// away, each pod gives its share, rounded up.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    /// Per client address, checked before authentication. On by default. Behind a proxy that `expose.trustedProxies` does
    /// not name all clients have one address: only failed authentications count then.
    #[serde(default)]
    pub per_client: RateLimit,
    /// Per principal: all requests with tokens of one issuer and subject; a caller without a token is its address. Default:
    /// no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_principal: Option<PrincipalRate>,
    /// Per principal and rule: the tools of a rule share one rate. A tool that several rules name needs room in each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub per_tool: Vec<ToolRate>,
    /// Tool calls of one principal that may be under way at once, of all pods together. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent_calls_per_principal: Option<i32>,
}

/// The rate of one principal: `requests` per `per`, with bursts of up to `burst`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrincipalRate {
    /// Requests in each period.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: i32,
    /// The period: a number with s, m or h, as in 1m.
    #[serde(default = "one_minute")]
    #[schemars(length(min = 2, max = 8))]
    #[x_kube(validation = (PERIOD_RULE, PERIOD_MESSAGE))]
    pub per: String,
    /// Requests that may come at once. Default: `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
}

/// The rate of one principal's calls of some tools.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ToolRate {
    /// Names of tools; `*` stands for any characters, as in `delete_*`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub tools: Vec<String>,
    /// Calls in each period.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: i32,
    /// The period: a number with s, m or h, as in 1m.
    #[serde(default = "one_minute")]
    #[schemars(length(min = 2, max = 8))]
    #[x_kube(validation = (PERIOD_RULE, PERIOD_MESSAGE))]
    pub per: String,
    /// Calls that may come at once. Default: `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
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
    #[x_kube(validation = (PERIOD_RULE, PERIOD_MESSAGE))]
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
