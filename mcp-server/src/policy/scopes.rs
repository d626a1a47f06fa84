//! Scopes that include others (MCP authorization 2026-07-28: a hierarchy must be honoured).

use std::collections::{BTreeMap, BTreeSet};

use crate::auth::Caller;

/// Which scopes a scope includes.
pub(super) struct Hierarchy<'a>(&'a BTreeMap<String, Vec<String>>);

/// A scope that an operation needs.
#[derive(Debug)]
pub(super) struct Needed {
    /// The scope itself first, then those that include it.
    granted_by: Vec<String>,
}

impl<'a> Hierarchy<'a> {
    pub(super) fn new(includes: &'a BTreeMap<String, Vec<String>>) -> Self {
        Self(includes)
    }

    /// With every scope that includes it, directly or by way of others. A circle does no harm.
    pub(super) fn needed(&self, scope: &str) -> Needed {
        let mut above = BTreeSet::new();
        let mut left = vec![scope];
        while let Some(scope) = left.pop() {
            let parents = self.0.iter().filter(|(_, included)| included.iter().any(|each| each == scope));
            left.extend(parents.map(|(parent, _)| parent.as_str()).filter(|parent| above.insert(*parent)));
        }
        above.remove(scope);
        Needed { granted_by: std::iter::once(scope).chain(above).map(str::to_owned).collect() }
    }
}

impl Needed {
    pub(super) fn scope(&self) -> &str {
        self.granted_by.first().map_or("", String::as_str)
    }

    /// The caller's token has it, or one that includes it.
    pub(super) fn is_granted(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Principal(principal) => self.granted_by.iter().any(|scope| principal.has_scope(scope)),
            Caller::Anonymous => false,
        }
    }
}
