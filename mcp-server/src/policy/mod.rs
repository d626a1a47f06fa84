//! What a caller may do: which scopes an operation needs, which tools there are, and what of a list of tools is shown.
//! Compiled once for each live configuration; a request costs a few comparisons of names.
//!
//! ```text
//! http::authorize ── Policy::check ── refused before any backend is asked
//!                 └─ Policy::listing ── filter ── the answer, without the tools that are not for the caller
//! ```
//!
//! Who the caller is was decided before: [`crate::auth`].

mod events;
mod filter;
mod listing;
mod pattern;
mod scopes;

use std::sync::Arc;

use mcp_server_config::{Auth, Live, Tools};

pub(crate) use self::filter::filter;
pub(crate) use self::listing::Listing;
pub(crate) use self::pattern::Patterns;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::pattern::check as check_pattern;
use self::scopes::{Hierarchy, Needed};
use crate::auth::Caller;
use crate::mcp::envelope::Envelope;

/// The sections `tools` and `auth` of a live configuration, as far as they say what may be done.
#[derive(Debug)]
pub struct Policy {
    required: Vec<Needed>,
    methods: Vec<Rule>,
    tools: Vec<Rule>,
    allow: Patterns,
    deny: Patterns,
}

/// Scopes that operations of some names need.
#[derive(Debug)]
struct Rule {
    names: Patterns,
    needed: Vec<Needed>,
}

/// Why an operation is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// For this server's clients there is no such tool.
    UnknownTool,
    /// It needs all of these scopes, and the caller has not all of them.
    Scopes(Vec<&'a str>),
}

impl Policy {
    /// Compiles the sections.
    #[must_use]
    pub fn new(live: &Live) -> Self {
        let open = Auth::default();
        let auth = live.auth.as_ref().unwrap_or(&open);
        let hierarchy = Hierarchy::new(&auth.scope_hierarchy);
        let rule = |names: &[String], scopes: &[String]| Rule {
            names: Patterns::new(names),
            needed: scopes.iter().map(|scope| hierarchy.needed(scope)).collect(),
        };
        let Tools { allow, deny } = &live.tools;
        Self {
            required: auth.required_scopes.iter().map(|scope| hierarchy.needed(scope)).collect(),
            methods: auth.method_scopes.iter().map(|each| rule(&each.methods, &each.scopes)).collect(),
            tools: auth.tool_scopes.iter().map(|each| rule(&each.tools, &each.scopes)).collect(),
            allow: Patterns::new(allow),
            deny: Patterns::new(deny),
        }
    }

    /// Whether the caller may send that message. Without one (GET, DELETE) only the scopes count that every token must
    /// have. Those are of tokens: who is served without one needs only what the operation asks for.
    pub fn check(&self, message: Option<&Envelope>, caller: &Caller) -> Result<(), Refusal<'_>> {
        // Whatever its kind: a backend may execute what is sent as a notification too.
        let method = message.map_or("", Envelope::method);
        let tool =
            message.filter(|_| method == "tools/call").map(|message| message.name.as_deref().unwrap_or_default());
        if tool.is_some_and(|tool| !self.has_tool(tool)) {
            return Err(Refusal::UnknownTool);
        }

        let required = self.required.iter().filter(|_| matches!(caller, Caller::Principal(_)));
        let of_method = needed_by(&self.methods, message.map(|_| method));
        let of_tool = needed_by(&self.tools, tool);
        if required.chain(of_method).chain(of_tool).all(|needed| needed.is_granted(caller)) {
            return Ok(());
        }
        // All at once, whether granted or not: a client that asks for the missing ones alone would lose the others.
        let of_method = needed_by(&self.methods, message.map(|_| method));
        let of_tool = needed_by(&self.tools, tool);
        let mut scopes: Vec<&str> = Vec::new();
        for needed in self.required.iter().chain(of_method).chain(of_tool) {
            if !scopes.contains(&needed.scope()) {
                scopes.push(needed.scope());
            }
        }
        Err(Refusal::Scopes(scopes))
    }

    /// What the caller sees of the tools in the answer. `None`: everything.
    pub(crate) fn listing(self: &Arc<Self>, caller: &Caller, modern: bool) -> Option<Listing> {
        let by_scope = !self.tools.is_empty();
        let hides = by_scope || !self.allow.match_all() || !self.deny.is_empty();
        hides.then(|| Listing { policy: Arc::clone(self), caller: caller.clone(), by_scope, modern })
    }

    /// There is such a tool as far as the configuration goes.
    fn has_tool(&self, name: &str) -> bool {
        self.allow.matches(name) && !self.deny.matches(name)
    }

    /// The caller may call that tool.
    fn shows(&self, name: &str, caller: &Caller) -> bool {
        self.has_tool(name) && needed_by(&self.tools, Some(name)).all(|needed| needed.is_granted(caller))
    }
}

fn needed_by<'a>(rules: &'a [Rule], name: Option<&str>) -> impl Iterator<Item = &'a Needed> {
    rules.iter().filter(move |rule| name.is_some_and(|name| rule.names.matches(name))).flat_map(|rule| &rule.needed)
}

#[cfg(test)]
mod tests;
