//! How long a change of the status waits for what comes with it. Pure.
//!
//! What a cluster does comes in pieces: a pod, its address, the Deployment's count, the answers to our own questions. Each
//! of them told at once would be a write and an event of its own, of something that was so for a moment. What people
//! did, and what went wrong with it, waits for nothing.

use std::time::Duration;

use mcp_crds::McpServerStatus;

use super::{Observed, Outcome, Type, find};
use crate::cache::Child;

/// The pieces of one change follow each other within that time.
const SETTLE: Duration = Duration::from_millis(500);
/// Known to be on its way: longer than one question takes.
const ON_ITS_WAY: Duration = Duration::from_secs(4);

/// How long another status than the one before must have been due.
#[must_use]
pub fn patience(outcome: &Outcome, seen: &Observed, earlier: &McpServerStatus, now: &McpServerStatus) -> Duration {
    let reason = |status: &McpServerStatus| {
        find(&status.conditions, Type::Programmed).map(|condition| (condition.status.clone(), condition.reason.clone()))
    };
    let by_people = earlier.observed_generation != now.observed_generation
        || reason(earlier) != reason(now)
        || earlier.keys != now.keys;
    match outcome {
        Outcome::Failed(_) | Outcome::Suspended { .. } => Duration::ZERO,
        Outcome::Programmed if by_people => Duration::ZERO,
        Outcome::Programmed if is_more_on_its_way(seen) => ON_ITS_WAY,
        Outcome::Programmed => SETTLE,
    }
}

fn is_more_on_its_way(seen: &Observed) -> bool {
    // Nobody is asked, so addresses do not matter.
    let Some(target) = seen.target.as_ref().filter(|_| !seen.probes_off) else { return false };
    let serving = target.ready_pods().count();
    let counted = seen.deployment.as_deref().and_then(Child::rollout).map_or(0, |rollout| rollout.ready);
    // The Deployment's controller and that of EndpointSlices hear of the same pods.
    if usize::try_from(counted) != Ok(serving) {
        return true;
    }
    let asked = match &seen.findings {
        None => false,
        Some(findings) => findings.misses > 0 || findings.is_answered(target),
    };
    serving > 0 && !asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::status::{Reason, Verdict};

    fn said(generation: i64, programmed: &Verdict) -> McpServerStatus {
        let now = jiff::Timestamp::UNIX_EPOCH;
        McpServerStatus {
            observed_generation: Some(generation),
            conditions: vec![programmed.condition(Type::Programmed, &[], Some(generation), now)],
            ..McpServerStatus::default()
        }
    }

    #[test]
    fn what_people_did_and_what_went_wrong_is_told_at_once() {
        let (yes, no) = (Verdict::yes(Reason::Programmed, ""), Verdict::no(Reason::Conflict, ""));
        let seen = Observed::default();
        let wait = |outcome: &Outcome, earlier: &McpServerStatus, now: &McpServerStatus| {
            patience(outcome, &seen, earlier, now)
        };
        assert_eq!(wait(&Outcome::Programmed, &McpServerStatus::default(), &said(1, &yes)), Duration::ZERO);
        assert_eq!(wait(&Outcome::Programmed, &said(1, &yes), &said(2, &yes)), Duration::ZERO);
        assert_eq!(wait(&Outcome::Programmed, &said(1, &no), &said(1, &yes)), Duration::ZERO);
        let failed = Outcome::Failed(Error::ProfileRequired);
        assert_eq!(wait(&failed, &said(1, &yes), &said(1, &no)), Duration::ZERO);
        assert_eq!(wait(&Outcome::Programmed, &said(1, &yes), &said(1, &yes)), SETTLE, "what the cluster did settles");
    }
}
