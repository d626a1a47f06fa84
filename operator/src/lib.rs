//! The operator: one `McpServer` in, every object of a production MCP endpoint out.
//!
//! ```text
//! controller → reconcile → resolve → desired → apply → status
//!  (watches,    (one        (IO in:   (pure:    (IO     (pure: conditions, events)
//!   queue)       screen)     values)   children) out)
//!      ↑                        ↑        ↑         ↑        ↑
//!    cache ─────────────────────┘     exposure     └─ verify asks the running server
//! ```
//!
//! Modules are listed in the order in which data flows through them.

// The order is that of the data; the comments keep rustfmt from sorting it.
pub mod controller;
// What the operator remembers of the cluster between two reconciles.
pub mod cache;
// One server, on one screen.
pub mod reconcile;
// IO in.
pub mod resolve;
// Pure.
pub mod desired;
pub mod exposure;
// IO out.
pub mod apply;
// Asking the running server.
pub mod verify;
// Telling people.
pub mod status;
// And when something changed.
pub mod events;
// Around it.
pub mod lease;
pub mod metrics;
pub mod rbac;
pub mod settings;
