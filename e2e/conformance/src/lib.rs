//! The server that the official conformance suite asks: a handler as a user of the library writes one, with every tool,
//! prompt and resource that the suite's scenarios name. What it does is the suite's contract, not an example of design.
//!
//! ```text
//! conformance-server ── our shell (mcp-server as a library) ──┐
//!                    └─ --bare: rmcp's own HTTP service ──────┴─ Fixture
//! ```

pub mod bare;
pub mod fixture;
