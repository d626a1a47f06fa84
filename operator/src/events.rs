//! Events: what went wrong, that it is right again, and that a server is ready; each told once. Pure, but for the writing.
//!
//! The steps on the way up are in the conditions. As events they would cost the API server as much as the children do.

use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use mcp_crds::McpServer;

use crate::status::{Reason, Type, find};
use crate::text::cut;

/// Longest note that the API server takes.
const MAX_NOTE: usize = 1000;

/// Of so many events it is known that they were written, so that the next one counts them on.
const REMEMBERED: u32 = 256;

/// Writes events.
pub struct Publisher {
    client: Client,
    reporter: Reporter,
    /// And how many it has written. The library keeps each for six minutes at least, at 4 KB: of a thousand servers that
    /// become ready that is more than what the operator itself remembers of them.
    recorder: Mutex<(Recorder, u32)>,
}

impl Publisher {
    /// Writes events in the name of `reporter`.
    #[must_use]
    pub fn new(client: Client, reporter: Reporter) -> Self {
        let recorder = Mutex::new((Recorder::new(client.clone(), reporter.clone()), 0));
        Self { client, reporter, recorder }
    }

    /// Writes one event.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn publish(&self, event: &Event, about: &ObjectReference) -> Result<(), kube::Error> {
        self.recorder().publish(event, about).await
    }

    fn recorder(&self) -> Recorder {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if recorder.1 == REMEMBERED {
            *recorder = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        recorder.1 += 1;
        recorder.0.clone()
    }
}

/// The turns between two sets of conditions that people want to hear of.
#[must_use]
pub fn of(earlier: &[Condition], now: &[Condition]) -> Vec<Event> {
    Type::STEADY.into_iter().filter_map(|kind| turn(kind, find(earlier, kind), find(now, kind)?)).collect()
}

fn turn(kind: Type, earlier: Option<&Condition>, now: &Condition) -> Option<Event> {
    let flipped = earlier.is_none_or(|earlier| earlier.status != now.status);
    let other_reason = earlier.is_some_and(|earlier| earlier.reason != now.reason);
    let recovered = earlier.is_some_and(|earlier| earlier.status == "False" && is_problem(earlier));
    let type_ = match now.status.as_str() {
        "True" if flipped && (recovered || kind == Type::Ready) => EventType::Normal,
        // Ready repeats what another condition says; that one has the event.
        "False" if (flipped || other_reason) && kind != Type::Ready && is_problem(now) => EventType::Warning,
        _ => return None,
    };
    Some(Event {
        type_,
        reason: now.reason.clone(),
        note: Some(cut(&now.message, MAX_NOTE).to_owned()),
        action: format!("Report{}", kind.as_str()),
        secondary: None,
    })
}

/// What passes by itself on the way up is no warning.
fn is_problem(condition: &Condition) -> bool {
    let on_the_way = [
        Reason::NotCreated,
        Reason::Starting,
        Reason::NotServing,
        Reason::NoRoute,
        Reason::AddressPending,
        Reason::Suspended,
    ];
    !on_the_way.iter().any(|reason| reason.as_str() == condition.reason)
}

/// The object that an event is about.
#[must_use]
pub fn regarding(server: &McpServer) -> ObjectReference {
    // With the version an event would not be grouped with the next one of the same server.
    ObjectReference { resource_version: None, ..server.object_ref(&()) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::status::Verdict;

    fn conditions(kind: Type, verdict: &Verdict) -> Vec<Condition> {
        vec![verdict.condition(kind, &[], Some(1), Timestamp::UNIX_EPOCH)]
    }

    fn told(kind: Type, earlier: &Verdict, now: &Verdict) -> Vec<(EventType, String)> {
        let events = of(&conditions(kind, earlier), &conditions(kind, now));
        events.into_iter().map(|event| (event.type_, event.reason)).collect()
    }

    #[test]
    fn a_turn_is_told_and_a_state_is_not() {
        let (down, up) = (Verdict::no(Reason::Crashing, "exit 1"), Verdict::yes(Reason::Available, ""));
        assert_eq!(told(Type::Available, &down, &up), [(EventType::Normal, "Available".to_owned())]);
        assert_eq!(told(Type::Available, &up, &down), [(EventType::Warning, "Crashing".to_owned())]);
        assert_eq!(told(Type::Available, &down, &down), []);
    }

    #[test]
    fn of_the_way_up_only_its_end_is_told() {
        let (starting, up) = (Verdict::no(Reason::Starting, ""), Verdict::yes(Reason::Available, ""));
        assert!(of(&[], &conditions(Type::Available, &up)).is_empty());
        assert_eq!(told(Type::Available, &starting, &up), []);
        assert_eq!(told(Type::Ready, &starting, &up), [(EventType::Normal, "Available".to_owned())]);
    }

    #[test]
    fn another_reason_for_the_same_failure_is_told() {
        let (one, other) = (Verdict::no(Reason::ImagePullFailed, ""), Verdict::no(Reason::Crashing, ""));
        assert_eq!(told(Type::Available, &one, &other), [(EventType::Warning, "Crashing".to_owned())]);
    }

    #[test]
    fn what_passes_by_itself_and_what_ready_repeats_is_not_told() {
        let (unknown, starting) = (Verdict::unknown(Reason::NotAsked, ""), Verdict::no(Reason::Starting, ""));
        assert_eq!(told(Type::Available, &unknown, &starting), []);
        assert_eq!(told(Type::Ready, &unknown, &Verdict::no(Reason::Crashing, "")), []);
    }

    #[test]
    fn a_conflict_is_a_warning_from_the_first_write_on() {
        let conflict = conditions(Type::Programmed, &Verdict::no(Reason::Conflict, "Deployment demo"));
        assert_eq!(of(&[], &conflict).len(), 1);
    }
}
