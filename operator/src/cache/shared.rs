//! Texts that many objects have in common — namespaces, names, owners' UIDs, field sets — kept once.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::{Serialize, Serializer};

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Texts are looked through for those that nobody has any more when there are at least so many.
const FIRST_SWEEP: usize = 1024;

/// A text of which the process has one copy, however many hold it. To clone it costs no memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shared(Arc<str>);

#[derive(Default)]
struct Known {
    texts: HashSet<Arc<str>>,
    /// Size at which to sweep: twice what the last sweep left, so that a sweep costs each text a constant.
    full: usize,
}

impl Known {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= self.full.max(FIRST_SWEEP) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.full = self.texts.len() * 2;
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

impl From<&str> for Shared {
    fn from(text: &str) -> Self {
        Self(KNOWN.lock().unwrap_or_else(PoisonError::into_inner).share(text))
    }
}

impl From<String> for Shared {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Shared {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Self> for Shared {
    fn from(text: &Self) -> Self {
        text.clone()
    }
}

impl Default for Shared {
    fn default() -> Self {
        "".into()
    }
}

impl Deref for Shared {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Shared {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Shared {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialEq<String> for Shared {
    fn eq(&self, other: &String) -> bool {
        **self == **other
    }
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let (one, other) = (Shared::from("a-text-of-this-test"), Shared::from("a-text-of-this-test".to_owned()));
        assert!(Arc::ptr_eq(&one.0, &other.0));
    }

    #[test]
    fn texts_that_nobody_has_go_and_the_others_stay() {
        let mut known = Known::default();
        let kept: Vec<_> = (0..100).map(|index| known.share(&format!("kept-{index}"))).collect();
        for index in 0..100_000 {
            known.share(&index.to_string());
        }
        assert!(known.texts.len() <= FIRST_SWEEP + 1, "{}", known.texts.len());
        assert!(kept.iter().all(|text| Arc::ptr_eq(&known.share(text), text)));
    }
}
