//! What of a list of tools a caller sees. The message is not written anew: the tools that stay, and everything around
//! them, stay byte for byte, so that whatever the backend says beyond what we know reaches the client.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Policy;
use crate::auth::Caller;

/// The view of one caller.
pub(crate) struct Listing {
    pub(super) policy: Arc<Policy>,
    pub(super) caller: Caller,
    /// What is shown depends on the caller: no cache may give it to another.
    pub(super) by_scope: bool,
    /// The answer is one of 2026-07-28, which says who may keep it.
    pub(super) modern: bool,
}

/// A change of the text: what stands there, and what is to stand there.
type Edit = (Range<usize>, String);

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ListResult<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, rename = "cacheScope", default, deserialize_with = "also_null")]
    cache_scope: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// A member that is `null` is there too.
fn also_null<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Listing {
    /// The text with the caller's tools only; `None`: as it is. An error where it cannot be told what the text says: who
    /// reads it more generously than we do must not see more.
    pub(super) fn filtered(&self, text: &str) -> Result<Option<String>, serde_json::Error> {
        let mut edits = Vec::new();
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') => self.edit(text, text, &mut edits)?,
            // The revision 2025-03-26 has batches.
            Some(b'[') => {
                for message in serde_json::from_str::<Vec<&RawValue>>(text)? {
                    if message.get().starts_with('{') {
                        self.edit(message.get(), text, &mut edits)?;
                    }
                }
            }
            _ => drop(serde_json::from_str::<serde::de::IgnoredAny>(text)?),
        }
        Ok((!edits.is_empty()).then(|| apply(text, &edits)))
    }

    /// What is to be changed of one message. Its id does not matter: a list is a list.
    fn edit(&self, message: &str, text: &str, edits: &mut Vec<Edit>) -> Result<(), serde_json::Error> {
        let Message { result } = serde_json::from_str(message)?;
        let Some(result) = result.filter(|result| result.get().starts_with('{')) else { return Ok(()) };
        let ListResult { tools, cache_scope } = serde_json::from_str(result.get())?;
        let Some(tools) = tools else { return Ok(()) };

        let all: Vec<&RawValue> = serde_json::from_str(tools.get())?;
        let shown: Vec<&str> = all.iter().map(|tool| tool.get()).filter(|tool| self.shows(tool)).collect();
        if shown.len() < all.len() {
            edits.push((place(tools.get(), text), format!("[{}]", shown.join(","))));
        }
        match cache_scope {
            Some(scope) if self.by_scope => edits.push((place(scope.get(), text), r#""private""#.to_owned())),
            None if self.by_scope && self.modern => {
                let begin = place(result.get(), text).start + 1;
                edits.push((begin..begin, r#""cacheScope":"private","#.to_owned()));
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// A tool without a name cannot be called, so nobody misses it.
    fn shows(&self, tool: &str) -> bool {
        serde_json::from_str::<Tool<'_>>(tool).is_ok_and(|Tool { name }| self.policy.shows(&name, &self.caller))
    }
}

/// Where a part of the text stands in it.
fn place(part: &str, text: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|(place, _)| place.start);
    let mut changed = String::with_capacity(text.len() + 32);
    let mut done = 0;
    for (place, new) in edits {
        changed.push_str(&text[done..place.start]);
        changed.push_str(new);
        done = place.end;
    }
    changed.push_str(&text[done..]);
    changed
}
