//! What answers MCP calls behind the endpoint, other than the built-in tools: a container's own server, spoken to in HTTP.
//!
//! ```text
//! Container  one request through: headers, sessions, the body as it comes
//!   upstream   the HTTP client         headers  what passes in each direction
//!   pass       the body                outcome  did the call succeed?
//! Handshake  is it there, and what does it offer?
//!   ask, answer  the questions         catalog  the tools         reach  can it be reached past us?
//! ```

mod answer;
mod ask;
mod catalog;
mod container;
mod handshake;
mod headers;
mod outcome;
mod pass;
mod reach;
mod upstream;

pub(crate) use catalog::digest;
pub(crate) use container::Container;
pub(crate) use outcome::Outcome;
pub(crate) use reach::own_addresses;
