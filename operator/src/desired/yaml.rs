//! Values to the text of a file that the runtime reads.

use serde::Serialize;
use url::Url;

use super::{Identity, Invalid};

/// One YAML document. The same value gives the same bytes.
pub(super) fn document<T: Serialize>(value: &T, id: &Identity) -> Result<String, Invalid> {
    // Long values stay on one line, for readers of `kubectl get configmap -o yaml`.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let body = serde_saphyr::to_string_with_options(value, options).map_err(|error| {
        Invalid::new("spec", format!("cannot be written as YAML ({error})"), "report this as a bug of mcp-operator")
    })?;
    let Identity { name, namespace, .. } = id;
    Ok(format!(
        "# Written by mcp-operator for McpServer {namespace}/{name}. Change that; edits here are undone.\n{body}"
    ))
}

/// A number of the spec in the type of the file. The schema's bounds make failures impossible for stored objects.
pub(super) fn number<T: TryFrom<i32>>(field: &str, value: i32) -> Result<T, Invalid> {
    T::try_from(value).map_err(|_| Invalid::new(field, format!("{value} is out of range"), "see kubectl explain"))
}

/// A URL of the spec, to which the runtime connects.
pub(super) fn url(field: &str, text: &str) -> Result<Url, Invalid> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Ok(_) => {
            Err(Invalid::new(field, format!("{text:?} is no http or https URL"), "begin with https:// and a host"))
        }
        Err(error) => Err(Invalid::new(field, format!("{text:?} is no URL ({error})"), "write an absolute URL")),
    }
}
