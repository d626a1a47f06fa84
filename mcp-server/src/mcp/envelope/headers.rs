//! What a client says that it sends and that it takes (RFC 9110 §8.3, §12.5.1).

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use crate::mcp::error::{Failure, code};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Checks the headers of a POST.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Failure<'static>> {
    if !(accepts(headers, JSON) && accepts(headers, EVENTS)) {
        return Err(Failure::new(
            StatusCode::NOT_ACCEPTABLE,
            code::TRANSPORT,
            "The header Accept must list application/json and text/event-stream.",
        ));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(JSON) {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::TRANSPORT,
            "The header Content-Type must be application/json.",
        ));
    }
    let plain = headers.get(CONTENT_ENCODING).is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !plain {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::TRANSPORT,
            "The request body must not be compressed.",
        ));
    }
    Ok(())
}

/// The client takes an event stream.
pub(crate) fn accepts_events(headers: &HeaderMap) -> bool {
    accepts(headers, EVENTS)
}

/// The client takes that type. Where it names the type and a wildcard, the more specific one decides.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let family = wanted.split('/').next().unwrap_or_default();
    let mut best: Option<(u8, bool)> = None;
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    for range in ranges {
        let mut parts = range.split(';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let rank = match name.as_str() {
            name if name == wanted => 3,
            "*/*" => 1,
            name if name.strip_suffix("/*") == Some(family) => 2,
            _ => continue,
        };
        let refused = parts.any(|parameter| is_zero_weight(parameter.trim()));
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, !refused));
        }
    }
    best.is_some_and(|(_, taken)| taken)
}

/// `q=0`, `q=0.0`, …: not wanted.
fn is_zero_weight(parameter: &str) -> bool {
    parameter
        .split_once('=')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, weight)| weight.trim().parse::<f32>().ok())
        .is_some_and(|weight| weight == 0.0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))])
    }

    #[test]
    fn wildcards_count_and_zero_weights_do_not() {
        assert!(accepts(&accept("application/json, text/event-stream"), EVENTS));
        assert!(accepts(&accept("*/*"), JSON));
        assert!(accepts(&accept("text/*;q=0.5"), EVENTS));
        assert!(accepts(&accept("TEXT/Event-Stream"), EVENTS));
        assert!(!accepts(&accept("text/*"), JSON));
        assert!(!accepts(&accept("application/json"), EVENTS));
        assert!(!accepts(&accept("*/*, text/event-stream;q=0"), EVENTS));
        assert!(!accepts(&HeaderMap::new(), JSON));
    }

    #[test]
    fn a_charset_is_accepted_and_a_compression_is_not() {
        let mut headers = accept("*/*");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("Application/JSON; charset=utf-8"));
        assert!(check(&headers).is_ok());
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(check(&headers).is_err());
    }
}
