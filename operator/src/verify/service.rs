//! The last answer of a Service to a caller without a token, and when to ask it again.
//!
//! Pods are asked every second while something is about to change. The Service is not: its answer says little new, and
//! each question takes from the server's rate limit, which knows no operator.

use std::time::{Duration, Instant};

use super::findings::Anonymous;
use super::target::Target;

/// Between two questions while the answer is as it should be.
const SLOW: Duration = Duration::from_secs(50);
/// Before the first repetition of a question that was answered badly; doubles.
const FIRST: Duration = Duration::from_secs(1);
/// Between two such repetitions at most.
const LAST: Duration = Duration::from_secs(15);

/// The last answer.
#[derive(Clone, Debug)]
pub struct LastAnswer {
    answer: Anonymous,
    expected: Expected,
    at: Instant,
    repeated: u32,
}

/// What the answer speaks of: when it changes the question is asked anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    live_digest: String,
    enforces_auth: bool,
    /// In the order of the target.
    pods: Box<[String]>,
}

impl Expected {
    fn of(target: &Target) -> Self {
        Self {
            live_digest: target.live_digest.clone(),
            enforces_auth: target.enforces_auth,
            pods: target.ready_pods().map(|pod| pod.pod.clone()).collect(),
        }
    }

    fn same_configuration(&self, other: &Self) -> bool {
        self.live_digest == other.live_digest && self.enforces_auth == other.enforces_auth
    }
}

impl LastAnswer {
    /// Notes an answer. Where the rate limit held us back, what was answered before stays, unless it spoke of another
    /// configuration.
    #[must_use]
    pub fn after(before: Option<&Self>, answer: Anonymous, target: &Target, now: Instant) -> Self {
        let expected = Expected::of(target);
        let earlier = before.filter(|before| before.expected.same_configuration(&expected));
        let answer = match (answer, earlier.map(|earlier| &earlier.answer)) {
            (Anonymous::Limited, Some(earlier @ (Anonymous::Served | Anonymous::Refused { .. }))) => earlier.clone(),
            (answer, _) => answer,
        };
        let repeated = earlier.filter(|earlier| earlier.answer == answer).map_or(0, |earlier| earlier.repeated + 1);
        Self { answer, expected, at: now, repeated }
    }

    /// The answer, while it need not be asked for again.
    #[must_use]
    pub fn fresh(&self, target: &Target, now: Instant) -> Option<&Anonymous> {
        let young = now.duration_since(self.at) < self.interval();
        (young && self.expected == Expected::of(target)).then_some(&self.answer)
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self) -> &Anonymous {
        &self.answer
    }

    fn interval(&self) -> Duration {
        let good = match self.answer {
            Anonymous::Served => !self.expected.enforces_auth,
            Anonymous::Refused { metadata } => self.expected.enforces_auth && metadata,
            Anonymous::Limited | Anonymous::NotAdmitted => true,
            Anonymous::Other(_) | Anonymous::Failed(_) | Anonymous::BadCertificate(_) => false,
        };
        if good { SLOW } else { FIRST.saturating_mul(1 << self.repeated.min(8)).min(LAST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Endpoint, Key};

    fn target(auth: bool) -> Target {
        Target {
            server: Key::new("ns", "demo"),
            uid: "u".to_owned(),
            host: "demo.ns.svc".to_owned(),
            dns: "demo.ns.svc".to_owned(),
            port: 80,
            path: "/mcp".to_owned(),
            enforces_auth: auth,
            tls: None,
            live_digest: "new".to_owned(),
            mcp_port: 8000,
            management_port: 9090,
            pods: vec![Endpoint { pod: "a".to_owned(), address: "10.0.0.1".parse().unwrap(), ready: true }],
        }
    }

    fn in_seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_good_answer_is_good_for_most_of_a_minute() {
        let now = Instant::now();
        let last = LastAnswer::after(None, Anonymous::Served, &target(false), now);
        assert!(last.fresh(&target(false), in_seconds(now, 49)).is_some());
        assert!(last.fresh(&target(false), in_seconds(now, 50)).is_none());
        assert!(last.fresh(&target(true), now).is_none(), "of another configuration it says nothing");
    }

    #[test]
    fn a_bad_answer_is_asked_for_again_soon_and_then_less_often() {
        let now = Instant::now();
        let mut last = LastAnswer::after(None, Anonymous::Other(500), &target(false), now);
        assert!(last.fresh(&target(false), in_seconds(now, 1)).is_none());
        for _ in 0..10 {
            last = LastAnswer::after(Some(&last), Anonymous::Other(500), &target(false), now);
        }
        assert!(last.fresh(&target(false), in_seconds(now, 14)).is_some());
        assert!(last.fresh(&target(false), in_seconds(now, 15)).is_none());
    }

    #[test]
    fn a_rate_limit_takes_nothing_back() {
        let now = Instant::now();
        let served = LastAnswer::after(None, Anonymous::Served, &target(false), now);
        let held_back = LastAnswer::after(Some(&served), Anonymous::Limited, &target(false), now);
        assert_eq!(held_back.answer(), &Anonymous::Served);
        let changed = LastAnswer::after(Some(&served), Anonymous::Limited, &target(true), now);
        assert_eq!(changed.answer(), &Anonymous::Limited, "what is expected now was never seen");
    }
}
