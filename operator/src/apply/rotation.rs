//! The generated keys, made anew with overlap when the annotation of [`keys::ROTATE`](crate::desired::keys::ROTATE) asks
//! for it. Pure: what there is to do, and the patch that does it.
//!
//! ```text
//! asked ──▶ announced: every pod recognizes the coming key (`session.next`)
//!       ──▶ taken: it makes what is new; the one before is recognized still (`session.previous`)
//!       ──▶ done: the one before is gone
//! ```
//!
//! Keys are copied and moved by the API server, by JSON Patch: the operator makes the coming ones and reads none.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::desired::keys::{Material, ROTATION};

/// What every kubelet needs to bring a changed Secret to its pods: a minute to look again, and a cache of about as long.
pub const ANNOUNCEMENT: Duration = Duration::from_secs(180);
/// How long the keys of before are recognized: sessions that are in use are made anew by then.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// What the Secret says of itself, in an annotation.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The value that was asked for.
    pub request: String,
    /// How far it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
}

/// How far a rotation is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The coming keys are recognized.
    Announced,
    /// They are in use; those of before are recognized.
    Taken,
    /// Those of before are gone.
    Done,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for ever or until then.
    Wait(Option<Timestamp>),
    /// Go on to this.
    Go(Rotation),
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Announced => "announced",
            Self::Taken => "taken",
            Self::Done => "done",
        })
    }
}

impl Rotation {
    /// Fresh keys are as good as rotated ones.
    #[must_use]
    pub fn fresh(request: Option<&str>, now: Timestamp) -> Self {
        Self { request: request.unwrap_or_default().to_owned(), phase: Phase::Done, since: now }
    }

    /// Reads the annotation. What is no rotation is none.
    #[must_use]
    pub fn read(annotation: &str) -> Option<Self> {
        serde_json::from_str(annotation).ok()
    }

    /// The annotation.
    #[must_use]
    pub fn annotation(&self) -> String {
        json!(self).to_string()
    }

    /// When this phase ends by itself.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        let lasts = match self.phase {
            Phase::Announced => ANNOUNCEMENT,
            Phase::Taken => OVERLAP,
            Phase::Done => return None,
        };
        SignedDuration::try_from(lasts).ok().and_then(|lasts| self.since.checked_add(lasts).ok())
    }
}

/// What comes next. A new request waits for the announcement of the one before: it would take away what pods are learning.
#[must_use]
pub fn next(current: Option<&Rotation>, request: Option<&str>, now: Timestamp) -> Step {
    let ended = |rotation: &Rotation| rotation.ends().is_some_and(|end| end <= now);
    let asked = request.filter(|request| current.is_none_or(|current| current.request != *request));
    match (current, asked) {
        (Some(current @ Rotation { phase: Phase::Announced, .. }), _) if !ended(current) => Step::Wait(current.ends()),
        (Some(Rotation { request, phase: Phase::Announced, .. }), _) => {
            Step::Go(Rotation { request: request.clone(), phase: Phase::Taken, since: now })
        }
        (_, Some(request)) => Step::Go(Rotation { request: request.to_owned(), phase: Phase::Announced, since: now }),
        (Some(current @ Rotation { phase: Phase::Taken, .. }), None) if ended(current) => {
            Step::Go(Rotation { request: current.request.clone(), phase: Phase::Done, since: now })
        }
        (current, None) => Step::Wait(current.and_then(Rotation::ends)),
    }
}

/// The JSON Patch of a step, for the Secret in that version only.
#[must_use]
pub fn patch(step: &Rotation, material: &Material, version: &str, has_annotations: bool) -> Vec<Value> {
    let mut patch = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    if !has_annotations {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let annotation = format!("/metadata/annotations/{}", ROTATION.replace('/', "~1"));
    patch.push(json!({"op": "add", "path": annotation, "value": step.annotation()}));
    for (name, value) in material.entries() {
        let [key, coming, before] = ["", ".next", ".previous"].map(|suffix| format!("/data/{name}{suffix}"));
        match step.phase {
            Phase::Announced => patch.push(json!({"op": "add", "path": coming, "value": value})),
            Phase::Taken => {
                patch.push(json!({"op": "copy", "from": key, "path": before}));
                patch.push(json!({"op": "move", "from": coming, "path": key}));
            }
            Phase::Done => patch.push(json!({"op": "remove", "path": before})),
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn rotation(request: &str, phase: Phase, since: i64) -> Rotation {
        Rotation { request: request.to_owned(), phase, since: at(since) }
    }

    #[test]
    fn keys_are_announced_taken_and_those_of_before_dropped() {
        let fresh = Rotation::fresh(None, at(0));
        assert_eq!(next(Some(&fresh), None, at(9)), Step::Wait(None), "nobody asked");
        let announced = rotation("a", Phase::Announced, 10);
        assert_eq!(next(Some(&fresh), Some("a"), at(10)), Step::Go(announced.clone()));
        assert_eq!(next(Some(&announced), Some("a"), at(11)), Step::Wait(Some(at(190))));
        let taken = rotation("a", Phase::Taken, 190);
        assert_eq!(next(Some(&announced), Some("a"), at(190)), Step::Go(taken.clone()));
        assert_eq!(next(Some(&taken), Some("a"), at(191)), Step::Wait(Some(at(190 + 86400))));
        let done = rotation("a", Phase::Done, 190 + 86400);
        assert_eq!(next(Some(&taken), Some("a"), at(190 + 86400)), Step::Go(done.clone()));
        assert_eq!(next(Some(&done), Some("a"), at(1_000_000)), Step::Wait(None), "the same value asks for nothing");
        assert_eq!(next(Some(&done), None, at(1_000_000)), Step::Wait(None));
    }

    #[test]
    fn a_new_request_waits_for_the_announcement_and_for_no_overlap() {
        let announced = rotation("a", Phase::Announced, 0);
        assert_eq!(next(Some(&announced), Some("b"), at(1)), Step::Wait(Some(at(180))));
        assert_eq!(next(Some(&announced), Some("b"), at(180)), Step::Go(rotation("a", Phase::Taken, 180)));
        let taken = rotation("a", Phase::Taken, 180);
        assert_eq!(next(Some(&taken), Some("b"), at(181)), Step::Go(rotation("b", Phase::Announced, 181)));
        assert_eq!(
            next(None, Some("a"), at(1)),
            Step::Go(rotation("a", Phase::Announced, 1)),
            "made before there was one"
        );
    }

    #[test]
    fn what_the_secret_says_of_itself_is_read_back() {
        let announced = rotation("2026-11-27", Phase::Announced, 5);
        assert_eq!(Rotation::read(&announced.annotation()), Some(announced));
        assert_eq!(Rotation::read("{}"), None);
    }

    #[test]
    fn no_key_is_in_a_patch_but_the_coming_ones() {
        let material = Material { session: [1; 32], request_state: [2; 32], peer: [3; 32] };
        let patch_of = |phase| json!(patch(&rotation("a", phase, 5), &material, "7", true)).to_string();
        for (_, key) in material.entries() {
            let value = json!(key).to_string();
            assert!(patch_of(Phase::Announced).contains(&value));
            assert!(!patch_of(Phase::Taken).contains(&value) && !patch_of(Phase::Done).contains(&value));
        }
        assert!(patch_of(Phase::Taken).starts_with(r#"[{"op":"test","path":"/metadata/resourceVersion","value":"7"}"#));
    }
}
