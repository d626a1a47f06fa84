//! How often somebody may call. Each limit is a layer; the arithmetic is in [`gcra`].
//!
//! Here is the limit by client address, before authentication. Limits by principal and by tool come after it, where their
//! keys are known.

mod client;
pub mod gcra;

pub use client::{ClientLimit, client_limit};
