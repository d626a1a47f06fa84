//! The limits of one live configuration, compiled once.

use std::num::NonZeroU32;
use std::time::Duration;

use mcp_server_config::{Count, PerClient, PerPrincipal, PerTool, RateLimits};

use super::gcra::Rate;
use crate::policy::Patterns;

/// What is limited, and how.
#[derive(Debug)]
pub struct Rules {
    /// Which requests count for a client's address, and how many may come.
    pub(super) client: Option<(Count, Quota)>,
    pub(super) principal: Option<Quota>,
    pub(super) tools: Vec<(Patterns, Quota)>,
    /// This replica's share.
    pub(super) concurrent_calls: Option<u32>,
}

/// A rate and what names its buckets: an unchanged limit keeps its buckets over reloads and scaling, which give nobody new
/// room, and a changed one begins with full ones.
#[derive(Debug)]
pub(super) struct Quota {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Of all replicas together.
    pub(super) whole: Rate,
    /// This one's share, rounded up, so that together they never give less than was written.
    pub(super) share: Rate,
}

/// Which limit it is: a label, and a part of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Client,
    Principal,
    Tool,
    ConcurrentCalls,
}

impl Rules {
    /// For one of so many replicas.
    #[must_use]
    pub fn new(section: &RateLimits, replicas: NonZeroU32) -> Self {
        let RateLimits { per_client, per_principal, per_tool, concurrent_calls_per_principal } = section;
        let PerClient { requests, per_seconds, burst, count } = per_client;
        let client = (*requests > 0).then(|| {
            let name = format!("client:{count:?}").to_lowercase();
            (*count, Quota::new(Kind::Client, &name, (*requests, *per_seconds, *burst), replicas))
        });
        let principal = per_principal.as_ref().map(|PerPrincipal { requests, per_seconds, burst }| {
            Quota::new(Kind::Principal, "principal", (*requests, *per_seconds, *burst), replicas)
        });
        let tools = per_tool.iter().map(|PerTool { tools, requests, per_seconds, burst }| {
            let name = format!("tool:{}", tools.join(","));
            let quota = Quota::new(Kind::Tool, &name, (*requests, *per_seconds, *burst), replicas);
            (Patterns::new(tools), quota)
        });
        Self {
            client,
            principal,
            tools: tools.collect(),
            concurrent_calls: concurrent_calls_per_principal.map(|most| most.div_ceil(replicas.get())),
        }
    }

    /// The rules that a call of that tool needs room in.
    pub(super) fn of_tool<'a>(&'a self, tool: Option<&'a str>) -> impl Iterator<Item = &'a Quota> + Clone {
        let named = move |patterns: &Patterns| tool.is_some_and(|tool| patterns.matches(tool));
        self.tools.iter().filter(move |(patterns, _)| named(patterns)).map(|(_, quota)| quota)
    }
}

impl Quota {
    fn new(kind: Kind, name: &str, (requests, seconds, burst): (u32, u32, Option<u32>), replicas: NonZeroU32) -> Self {
        let burst = burst.unwrap_or(requests);
        let rate = |replicas: u32| {
            Rate::new(requests.div_ceil(replicas), Duration::from_secs(seconds.into()), burst.div_ceil(replicas))
        };
        Self { kind, name: format!("{name}:{requests}/{seconds}/{burst}"), whole: rate(1), share: rate(replicas.get()) }
    }
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Principal => "principal",
            Self::Tool => "tool",
            Self::ConcurrentCalls => "concurrent_calls",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_needs_room_in_every_rule_that_names_it() {
        let rule = |tool: &str| PerTool { tools: vec![tool.to_owned()], requests: 1, per_seconds: 1, burst: None };
        let per_tool = vec![rule("delete_*"), rule("*"), rule("list")];
        let rules = Rules::new(&RateLimits { per_tool, ..RateLimits::default() }, NonZeroU32::MIN);
        assert_eq!(rules.of_tool(Some("delete_all")).count(), 2);
        assert_eq!(rules.of_tool(Some("other")).count(), 1);
        assert_eq!(rules.of_tool(None).count(), 0);
    }

    #[test]
    fn replicas_share_calls_and_round_up() {
        let section = RateLimits { concurrent_calls_per_principal: Some(4), ..RateLimits::default() };
        let share =
            |replicas| Rules::new(&section, NonZeroU32::new(replicas).unwrap_or(NonZeroU32::MIN)).concurrent_calls;
        assert_eq!((share(1), share(3), share(9)), (Some(4), Some(2), Some(1)));
    }
}
