//! How often, and how much at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::check::{invalid, positive};
use crate::policy::check_patterns;

/// How often clients may call. A rate is that of all replicas together: with redis they share it; without, or while redis
/// is away, each gives its share, rounded up. How many there are stands in the file `replicas` beside the live file, in
/// digits; without it there is one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Per client address, checked before authentication.
    pub per_client: PerClient,
    /// Per principal: all requests with tokens of one issuer and subject. A caller without a token is its address. Default:
    /// no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_principal: Option<PerPrincipal>,
    /// Per principal and rule: the tools of a rule share one rate. A tool that several rules name needs room in each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub per_tool: Vec<PerTool>,
    /// Tool calls of one principal that may be under way at once. Each replica gives its share, with redis too. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_calls_per_principal: Option<u32>,
}

/// The rate of one client address.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PerClient {
    /// Requests in each period. 0 switches the limit off.
    pub requests: u32,
    /// The period in seconds.
    pub per_seconds: u32,
    /// Requests that may come at once. Default: `requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Which requests count. `failures` counts failed authentications only: behind a proxy that is not trusted all
    /// clients have its address.
    pub count: Count,
}

impl Default for PerClient {
    fn default() -> Self {
        Self { requests: 100, per_seconds: 60, burst: None, count: Count::Requests }
    }
}

/// What is debited from a client's rate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Every request.
    #[default]
    Requests,
    /// Failed authentications.
    Failures,
}

/// The rate of one principal.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PerPrincipal {
    /// Requests in each period.
    pub requests: u32,
    /// The period in seconds.
    #[serde(default = "a_minute")]
    pub per_seconds: u32,
    /// Requests that may come at once. Default: `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// The rate of one principal's calls of some tools.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PerTool {
    /// Names of tools; `*` stands for any characters, as in `delete_*`.
    pub tools: Vec<String>,
    /// Calls in each period.
    pub requests: u32,
    /// The period in seconds.
    #[serde(default = "a_minute")]
    pub per_seconds: u32,
    /// Calls that may come at once. Default: `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

fn a_minute() -> u32 {
    60
}

impl RateLimits {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let Self { per_client, per_principal, per_tool, concurrent_calls_per_principal } = self;
        let PerClient { requests: _, per_seconds, burst, count: _ } = per_client;
        check_rate("rate_limits.per_client", None, *per_seconds, *burst)?;
        if let Some(PerPrincipal { requests, per_seconds, burst }) = per_principal {
            check_rate("rate_limits.per_principal", Some(*requests), *per_seconds, *burst)?;
        }
        for (index, PerTool { tools, requests, per_seconds, burst }) in per_tool.iter().enumerate() {
            let field = format!("rate_limits.per_tool[{index}]");
            check_rate(&field, Some(*requests), *per_seconds, *burst)?;
            check_patterns(&format!("{field}.tools"), tools)?;
        }
        match concurrent_calls_per_principal {
            Some(0) => invalid(
                "rate_limits.concurrent_calls_per_principal: 0 would refuse every call: write 1 or more, or remove it",
            ),
            Some(_) | None => Ok(()),
        }
    }
}

fn check_rate(field: &str, requests: Option<u32>, per_seconds: u32, burst: Option<u32>) -> Result<(), Invalid> {
    if requests == Some(0) {
        return invalid(format!("{field}.requests: 0 would refuse everything: write 1 or more, or remove the limit"));
    }
    positive(&format!("{field}.per_seconds"), per_seconds)?;
    burst.map_or(Ok(()), |burst| positive(&format!("{field}.burst"), burst))
}
