//! End-to-end tests: real clusters, and the cases that run on them.
//!
//! ```text
//! clusters ── where a cluster comes from (native, kind, existing), images for it, and the API level
//! product  ── what runs on it: our binaries, images and chart, and what an installation has besides
//! client   ── how a server is called: plain HTTP, and the official TypeScript SDK
//! cases    ── what must hold, one function a sentence; they run on any cluster
//! demo     ── the same parts as a guided tour: `make demo`
//! ```

pub mod cases;
pub mod client;
pub mod clusters;
pub mod demo;
pub mod product;
