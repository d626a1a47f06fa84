//! Who calls: OAuth 2.1 resource server (MCP authorization; RFC 6750, 9068, 9728). The shell calls
//! [`Authenticator::authenticate`] for every request to the MCP endpoint and puts the [`Caller`] into the request's
//! extensions.
//!
//! ```text
//! request ── bearer ── cache ──hit────────────────────────┐
//!                        └──miss── token ── keys of `iss` ─┤
//!                                    │        │            ├─ Caller ── crate::policy: what it may do
//!                              introspection ─┼────────────┘
//!                                             │
//!                     source: a task for each issuer ── discovery ── fetch
//! ```
//!
//! A token is tried only with the keys of the issuer it names, and fails where those are not known: nothing here ever
//! fails open. No token, and nothing of a token, reaches a log or an error.

mod authenticator;
mod bearer;
mod cache;
mod clock;
mod discovery;
mod fetch;
mod introspection;
mod keys;
mod metrics;
mod principal;
mod rejection;
mod resource;
mod settings;
mod source;
mod token;

pub use authenticator::Authenticator;
pub use clock::{Clock, SystemClock};
pub use metrics::IssuerMetrics;
pub use principal::{Caller, Principal};
pub use rejection::Rejection;
pub use resource::WELL_KNOWN;
pub use settings::{Setup, SetupError};
