//! A small real OpenID issuer for tests and the demonstration. Not for production: it knows no users and keeps its keys
//! in memory.
//!
//! ```text
//! Issuer::start(Options) ── routes ── metadata (RFC 8414, OpenID), key set, POST token, introspect, revoke, admin/rotate
//!        │                     └── behaviour: what the issuer does wrong on purpose
//!        └── token() ── TokenBuilder ── good tokens, and every kind of hostile one
//! ```
//!
//! It signs with aws-lc-rs directly, so that the runtime's JWT library is tested against another implementation.

mod behaviour;
mod issued;
mod issuer;
mod keys;
mod routes;
mod tls;
mod token;

pub use behaviour::{Behaviour, Fetches};
pub use issuer::{Client, Issuer, Options};
pub use keys::Algorithm;
pub use tls::{Authority, TlsListener};
pub use token::{Forgery, TokenBuilder};
