//! How often somebody may call, and how much at once. The arithmetic is in [`gcra`]; three layers ask.
//!
//! ```text
//! client_limit     before authentication   the address: debited here
//! principal_limit  behind authentication   the principal: looked at here, before the message is read
//! call_limit       behind the envelope     principal and tools: all looked at, then all debited; calls under way
//! ```
//!
//! Without redis the buckets of this process are all there is, and each replica gives its share of a rate.
//!
//! With redis, replicas share the buckets, and a request costs one round trip: `call_limit` debits client, principal and
//! tools in one script ([`shared`]), none if one of them has no room. The buckets here stay in front: they know how full
//! those in redis were when last heard of, so that who has no room is refused without asking. A request that ends before
//! `call_limit` (a wrong token, no message) has been counted here; redis is debited after it, and nobody waits for that. So
//! the limit before authentication needs no round trip, and is late by one for what other replicas see.
//!
//! While redis is away or takes more than 100 ms, each replica gives its share; such requests are counted in
//! `mcp_rate_limit_degraded_total`. Calls under way are counted by each replica, with redis too: their end would be lost
//! with a replica that is lost.

mod buckets;
mod call;
mod client;
pub mod gcra;
mod limiter;
mod places;
mod principal;
mod rules;
mod shared;
mod who;

pub use call::call_limit;
pub use client::client_limit;
pub use limiter::Limiter;
pub(crate) use places::{Place, Places};
pub(crate) use who::Who;

pub use principal::principal_limit;
pub use rules::Rules;
