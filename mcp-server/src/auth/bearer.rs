//! The token of a request: from the `Authorization` header and nowhere else (RFC 6750, section 2.1; OAuth 2.1, section
//! 5.1).

use std::fmt;

use http::header::AUTHORIZATION;
use http::request::Parts;
use url::form_urlencoded;

/// What came as a token. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Bearer<'a>(pub(super) &'a [u8]);

impl<'a> Bearer<'a> {
    /// The token, if it is one by its form. Who knows the very bytes already need not look at each of them.
    pub(super) fn token(self) -> Result<&'a str, Malformed> {
        let text = std::str::from_utf8(self.0).ok().filter(|text| text.is_ascii());
        let token = text.ok_or(NOT_ASCII)?;
        if !is_b64token(token) {
            return Err(Malformed("the Authorization header is not `Bearer` and one token"));
        }
        Ok(token)
    }
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bearer(redacted)")
    }
}

/// Why a request is malformed (RFC 6750, section 3.1: `invalid_request`), in words for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

const NOT_ASCII: Malformed = Malformed("the Authorization header is not ASCII");

/// The request's token. `None`: it carries none, or credentials of a scheme that we do not know.
pub(super) fn of(parts: &Parts) -> Result<Option<Bearer<'_>>, Malformed> {
    // Query strings end up in the logs of every hop, so that a token there is refused even beside a good header.
    if parts.uri.query().is_some_and(names_a_token) {
        return Err(Malformed("a token belongs into the Authorization header, never into the query"));
    }
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(header) = headers.next() else {
        return Ok(None);
    };
    if headers.next().is_some() {
        return Err(Malformed("more than one Authorization header"));
    }
    let value = header.as_bytes();
    let (scheme, token) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return if value.is_ascii() { Ok(None) } else { Err(NOT_ASCII) };
    }
    Ok(Some(Bearer(trim_spaces(token))))
}

fn trim_spaces(mut token: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = token {
        token = rest;
    }
    token
}

fn names_a_token(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

/// RFC 6750, section 2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(uri: &str, authorization: &[&str]) -> Parts {
        let mut request = Request::get(uri);
        for value in authorization {
            request = request.header(AUTHORIZATION, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn token(parts: &Parts) -> Result<Option<&str>, Malformed> {
        of(parts)?.map(Bearer::token).transpose()
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_the_token_is_taken_whole() {
        for value in ["Bearer abc.d-e_f~+/==", "bearer abc.d-e_f~+/==", "BEARER  abc.d-e_f~+/=="] {
            assert_eq!(token(&parts("/mcp", &[value])), Ok(Some("abc.d-e_f~+/==")), "{value}");
        }
    }

    #[test]
    fn no_header_or_another_scheme_is_no_token() {
        assert_eq!(of(&parts("/mcp", &[])), Ok(None));
        assert_eq!(of(&parts("/mcp?query=access_token", &["Basic dTpw"])), Ok(None));
        assert!(
            of(&parts("/mcp", &["B\u{e4}sic dTpw"])).is_err() && token(&parts("/mcp", &["Bearer \u{e4}"])).is_err()
        );
    }

    #[test]
    fn malformed_and_doubled_credentials_are_refused() {
        for (uri, headers) in [
            ("/mcp", &["Bearer"][..]),
            ("/mcp", &["Bearer "]),
            ("/mcp", &["Bearer a b"]),
            ("/mcp", &["Bearer a,b"]),
            ("/mcp", &["Bearer =="]),
            ("/mcp", &["Bearer a", "Bearer a"]),
            ("/mcp", &["Bearer a", "Basic dTpw"]),
            ("/mcp?access_token=a", &[]),
            ("/mcp?x=1&access%5Ftoken=a", &[]),
            ("/mcp?access_token=a", &["Bearer a"]),
        ] {
            assert!(token(&parts(uri, headers)).is_err(), "{uri} {headers:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_token() {
        assert_eq!(format!("{:?}", Bearer(b"secret")), "Bearer(redacted)");
    }
}
