//! One condition, and how it replaces an earlier one.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use mcp_crds::McpServer;

use super::Reason;

/// Longest message: metav1.Condition takes 32768; people read less.
const MAX_MESSAGE: usize = 1024;
/// What leads from a message to the remedy.
const SEE: &str = " (docs/conditions.md#";

/// The types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "docs/conditions.md has them")]
pub enum Type {
    Accepted,
    Programmed,
    Available,
    Exposed,
    Verified,
    Ready,
    Reconciling,
    Stalled,
}

impl Type {
    /// The types that are always there.
    pub const STEADY: [Self; 6] =
        [Self::Accepted, Self::Programmed, Self::Available, Self::Exposed, Self::Verified, Self::Ready];

    /// The type as it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::Available => "Available",
            Self::Exposed => "Exposed",
            Self::Verified => "Verified",
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    /// The status as it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is to be said of one aspect of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub truth: Truth,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

impl Verdict {
    /// It holds.
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::True, reason, message: message.into() }
    }

    /// It does not hold.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::False, reason, message: message.into() }
    }

    /// It is not known.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::Unknown, reason, message: message.into() }
    }

    /// What a condition says, if this release knows its reason.
    #[must_use]
    pub fn of(condition: &Condition) -> Option<Self> {
        let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == condition.reason)?;
        let truth = match condition.status.as_str() {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        };
        let message = condition.message.rsplit_once(SEE).map_or(condition.message.as_str(), |(message, _)| message);
        Some(Self { truth, reason, message: message.to_owned() })
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.truth == Truth::True
    }

    /// The message, with the place that says what to do, where there is something to do.
    fn message_with_remedy(&self) -> String {
        let message = crate::text::cut(&self.message, MAX_MESSAGE);
        if !self.reason.has_remedy() {
            return message.to_owned();
        }
        format!("{message}{SEE}{})", self.reason.anchor())
    }

    /// The condition. Its transition time moves only when the status flips.
    #[must_use]
    pub fn condition(&self, kind: Type, earlier: &[Condition], generation: Option<i64>, now: Timestamp) -> Condition {
        let since = find(earlier, kind)
            .filter(|earlier| earlier.status == self.truth.as_str())
            .map_or_else(|| whole_seconds(now), |earlier| earlier.last_transition_time.clone());
        Condition {
            type_: kind.as_str().to_owned(),
            status: self.truth.as_str().to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message_with_remedy(),
            observed_generation: generation,
            last_transition_time: since,
        }
    }
}

/// The API server keeps no fractions: with them what the watch shows would not be what we said.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// What was last said of a server.
#[must_use]
pub fn conditions(server: &McpServer) -> &[Condition] {
    server.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

/// The condition of that type.
#[must_use]
pub fn find(conditions: &[Condition], kind: Type) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let first = Verdict::no(Reason::Starting, "").condition(Type::Available, &[], Some(1), at(10));
        let second = Verdict::no(Reason::Crashing, "exit 1").condition(
            Type::Available,
            std::slice::from_ref(&first),
            Some(2),
            at(20),
        );
        assert_eq!(second.last_transition_time, Time(at(10)), "still False");
        assert_eq!((second.reason.as_str(), second.observed_generation), ("Crashing", Some(2)));
        let third = Verdict::yes(Reason::Available, "").condition(Type::Available, &[second], Some(2), at(30));
        assert_eq!(third.last_transition_time, Time(at(30)));
    }

    #[test]
    fn the_api_server_gives_a_condition_back_as_it_was() {
        let now = at(10) + std::time::Duration::from_millis(987);
        let said = Verdict::yes(Reason::Available, "").condition(Type::Available, &[], Some(1), now);
        // metav1.Time is written as RFC 3339 with seconds.
        assert_eq!(serde_json::to_value(&said).unwrap()["lastTransitionTime"], "1970-01-01T00:00:10Z");
        assert_eq!(said.last_transition_time, Time(at(10)));
    }

    #[test]
    fn a_message_leads_to_its_remedy_and_is_read_back_as_it_was() {
        let verdict = Verdict::no(Reason::Crashing, "exit code 1 (docs/x)");
        let condition = verdict.condition(Type::Available, &[], Some(1), at(10));
        assert_eq!(condition.message, "exit code 1 (docs/x) (docs/conditions.md#crashing)");
        assert_eq!(Verdict::of(&condition), Some(verdict));
        let fine = Verdict::yes(Reason::Available, "1 of 1 pod is ready");
        assert_eq!(fine.condition(Type::Available, &[], Some(1), at(10)).message, "1 of 1 pod is ready");
        let long = Verdict::no(Reason::Crashing, "x".repeat(5000)).condition(Type::Available, &[], Some(1), at(10));
        assert!(long.message.ends_with("(docs/conditions.md#crashing)"), "the end must not be cut");
    }
}
