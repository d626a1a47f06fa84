//! End-to-end tests: real clusters, and the cases that run on them.
//!
//! [`clusters`]: where a cluster comes from (`native`, `kind`, `existing`), images for it, and the API level.

pub mod clusters;
