//! The product as its users get it: binaries compiled for release, images from the Dockerfiles, the chart installed by
//! Helm, and beside it what a real installation has already: a redis, an authorization server, certificates.
//!
//! ```text
//! build ── images ── install ── fixtures
//! ```
//! Everything here may be called again: what is done and unchanged is not done again.

pub mod addons;
pub mod build;
pub mod certificates;
pub mod circumstances;
pub mod fixtures;
pub mod images;
pub mod install;
pub mod npm;

use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
