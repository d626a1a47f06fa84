//! From text to types. No message quotes the text around an error: it may hold a password.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter};
use sha2::{Digest, Sha256};

use crate::{Config, Live, unknown};

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

/// Parses a boot file and checks it for itself. Unknown keys are refused. What depends on the live file or the
/// environment is checked by [`check_together`](crate::check_together).
pub fn parse_boot(text: &str) -> Result<Config, Invalid> {
    check_version(text)?;
    let config: Config = read(text).map_err(|error| explain(&error))?;
    config.check()?;
    Ok(config)
}

/// Parses a live file and checks it for itself. Unknown keys are returned, not refused.
pub fn parse_live(text: &str) -> Result<(Live, Vec<Unknown>), Invalid> {
    check_version(text)?;
    let (live, unknown) = match read::<Live>(text) {
        Ok(live) => (live, Vec::new()),
        Err(error) if is_unknown_key(&error) => unknown::ignore(text)?,
        Err(error) => return Err(explain(&error)),
    };
    live.check()?;
    Ok((live, unknown))
}

/// An empty file is an empty mapping: everything has a default.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let blank = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    serde_saphyr::from_str(if blank { "{}" } else { text })
}

/// A newer format is named as such before its unknown keys are.
fn check_version(text: &str) -> Result<(), Invalid> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "formatVersion")]
        format_version: Option<u32>,
    }
    // What is no mapping at all is explained by the real parse.
    match read::<Version>(text) {
        Ok(Version { format_version: Some(version) }) if version != FORMAT_VERSION => Err(Invalid(format!(
            "formatVersion: {version} is not served by this release, which reads format {FORMAT_VERSION}"
        ))),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_unknown_key(error: &Error) -> bool {
    matches!(error.without_snippet(), Error::SerdeUnknownField { .. })
}

/// A message for the person who wrote the file: line, what is wrong, what was perhaps meant.
pub(crate) fn explain(error: &Error) -> Invalid {
    let error = error.without_snippet();
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`{}", suggest(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{variant}`{}", suggest(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::InvalidScalar { ty: "u16", .. } => "expected a whole number from 0 to 65535".to_owned(),
        Error::InvalidScalar { ty: "u32", .. } => "expected a whole number from 0 to 4294967295".to_owned(),
        Error::InvalidScalar { ty: "bool", .. } => "expected true or false".to_owned(),
        other => without_value(&UserMessageFormatter.format_message(other)),
    };
    Invalid(match error.location() {
        Some(location) if location.line() > 0 => format!("line {}: {message}", location.line()),
        _ => message,
    })
}

/// Types such as URLs say why, and then what: that may be a URL with a password.
fn without_value(message: &str) -> String {
    let reason = message.split_once(": \"").filter(|_| message.ends_with('"'));
    reason.map_or(message, |(reason, _)| reason).to_owned()
}

/// What was perhaps meant, else everything that could be.
fn suggest(written: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&written.to_ascii_lowercase(), &known.to_ascii_lowercase()), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match nearest {
        Some((_, known)) => format!("; did you mean `{known}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known are {}", known.join(", ")),
    }
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
