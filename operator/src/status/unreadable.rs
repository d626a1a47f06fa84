//! The status of a server that this release cannot read. Pure.
//!
//! Nothing is known of what it wants, so nothing is written to the cluster: its pods and its route are as they were, and
//! so is what was said of them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use mcp_crds::{McpServer, McpServerStatus};

use super::{Reason, Truth, Type, Verdict, find};
use crate::error::Error;

/// The status of before, but for what the error changes: `Accepted`, `Programmed` and `Ready`.
#[must_use]
pub fn status(server: &McpServer, error: &Error, earlier: &McpServerStatus, now: Timestamp) -> McpServerStatus {
    let refused = Verdict::no(error.reason(), error.message());
    let waits = Verdict::unknown(Reason::NotAccepted, "waits until the spec is accepted");
    let generation = server.metadata.generation;
    let say = |kind: Type, verdict: &Verdict| verdict.condition(kind, &earlier.conditions, generation, now);
    let keep =
        |kind: Type| -> Condition { find(&earlier.conditions, kind).cloned().unwrap_or_else(|| say(kind, &waits)) };
    let conditions = vec![
        say(Type::Accepted, &refused),
        say(Type::Programmed, &waits),
        keep(Type::Available),
        keep(Type::Exposed),
        keep(Type::Verified),
        say(Type::Ready, &refused),
        say(Type::Stalled, &Verdict { truth: Truth::True, ..refused.clone() }),
    ];
    McpServerStatus { observed_generation: generation, conditions, ..earlier.clone() }
}
