//! Where the configuration comes from, and the part of it that changes while we run.
//!
//! ```text
//! sources (files, environment) ── load ── Config, checked once        boot
//!                                    └─── LiveState in a LiveStore ◄── reload (polls the file)
//! ```

mod live;
mod reload;
mod sources;

pub use live::{LiveState, LiveStore, SetupError};
pub use reload::watch;
pub use sources::{LoadError, Loaded, LoadedLive, Sources};
