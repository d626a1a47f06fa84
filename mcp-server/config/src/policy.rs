//! What callers may do: scopes of methods and tools, and which tools there are at all.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::check::invalid;

/// Longer patterns match nothing that exists.
const MAX_PATTERN: usize = 256;

/// Scopes that calls of some tools need.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ToolScopes {
    /// Names of tools; `*` stands for any characters, as in `delete_*`.
    pub tools: Vec<String>,
    /// The scopes that a call needs, all of them.
    pub scopes: Vec<String>,
}

/// Scopes that some methods need.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct MethodScopes {
    /// Names of MCP methods; `*` stands for any characters, as in `resources/*`.
    pub methods: Vec<String>,
    /// The scopes that a message needs, all of them.
    pub scopes: Vec<String>,
}

/// Which tools of the backend there are for clients.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Tools {
    /// Tools that are listed and may be called; `*` stands for any characters.
    pub allow: Vec<String>,
    /// Those of them that are hidden all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl Default for Tools {
    fn default() -> Self {
        Self { allow: vec!["*".to_owned()], deny: Vec::new() }
    }
}

impl Tools {
    /// Every tool is there.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let Self { allow, deny } = self;
        check_patterns("tools.allow", allow)?;
        deny.iter().try_for_each(|pattern| check_pattern("tools.deny", pattern))
    }
}

pub(crate) fn check_tool_scopes(rules: &[ToolScopes]) -> Result<(), Invalid> {
    rules.iter().enumerate().try_for_each(|(index, ToolScopes { tools, scopes })| {
        check_patterns(&format!("auth.tool_scopes[{index}].tools"), tools)?;
        check_needed(&format!("auth.tool_scopes[{index}].scopes"), scopes)
    })
}

pub(crate) fn check_method_scopes(rules: &[MethodScopes]) -> Result<(), Invalid> {
    rules.iter().enumerate().try_for_each(|(index, MethodScopes { methods, scopes })| {
        check_patterns(&format!("auth.method_scopes[{index}].methods"), methods)?;
        check_needed(&format!("auth.method_scopes[{index}].scopes"), scopes)
    })
}

pub(crate) fn check_hierarchy(hierarchy: &BTreeMap<String, Vec<String>>) -> Result<(), Invalid> {
    const FIELD: &str = "auth.scope_hierarchy";
    for (scope, included) in hierarchy {
        check_scope(FIELD, scope)?;
        included.iter().try_for_each(|included| check_scope(&format!("{FIELD}.{scope}"), included))?;
    }
    // Each scope is visited once from each root: configurations are small.
    for root in hierarchy.keys() {
        let mut seen: Vec<&String> = Vec::new();
        let mut left: Vec<&String> = hierarchy.get(root).into_iter().flatten().collect();
        while let Some(scope) = left.pop() {
            if scope == root {
                return invalid(format!(
                    "{FIELD}: {root:?} includes itself, perhaps by way of others: break the circle"
                ));
            }
            if !seen.contains(&scope) {
                seen.push(scope);
                left.extend(hierarchy.get(scope).into_iter().flatten());
            }
        }
    }
    Ok(())
}

/// RFC 6749 §3.3: a scope is a token without spaces, quotes and backslashes.
pub(crate) fn check_scope(field: &str, scope: &str) -> Result<(), Invalid> {
    if scope.is_empty() || !scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
        return invalid(format!("{field}: {scope:?} is no scope: write one a line, without spaces"));
    }
    Ok(())
}

fn check_needed(field: &str, scopes: &[String]) -> Result<(), Invalid> {
    if scopes.is_empty() {
        return invalid(format!("{field}: it is empty: name a scope, or remove the rule"));
    }
    scopes.iter().try_for_each(|scope| check_scope(field, scope))
}

pub(crate) fn check_patterns(field: &str, patterns: &[String]) -> Result<(), Invalid> {
    if patterns.is_empty() {
        return invalid(format!("{field}: it is empty: write names, or \"*\" for all"));
    }
    patterns.iter().try_for_each(|pattern| check_pattern(field, pattern))
}

fn check_pattern(field: &str, pattern: &str) -> Result<(), Invalid> {
    if pattern.is_empty() || pattern.len() > MAX_PATTERN {
        return invalid(format!("{field}: {pattern:?} is not 1 to {MAX_PATTERN} bytes: write a name, as delete_*"));
    }
    if pattern.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return invalid(format!("{field}: {pattern:?} has a space or control character: write one name a line"));
    }
    Ok(())
}
