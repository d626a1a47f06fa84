//! Where an issuer's metadata and keys are: URLs only, nothing is fetched here (RFC 8414, section 3; OpenID Connect
//! Discovery 1.0, section 4; MCP authorization, "Authorization Server Metadata Discovery").

use serde::Deserialize;
use url::Url;

use super::fetch::FetchError;

/// What we read of the metadata.
#[derive(Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
}

/// The addresses at which the metadata may be, in the order in which they are tried. `base` is the issuer itself or the
/// `server_url` that stands for it.
pub(super) fn metadata_urls(base: &Url) -> Vec<Url> {
    let path = base.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = base.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    let mut urls = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        urls.push(at(format!("{path}/.well-known/openid-configuration")));
    }
    urls
}

/// Where the keys are, by the metadata of `issuer` that was found under `base`.
pub(super) fn keys_url(metadata: &Metadata, issuer: &str, base: &Url) -> Result<Url, FetchError> {
    endpoint(metadata, metadata.jwks_uri.as_deref(), issuer, base, FetchError::NoKeysUrl)
}

/// Where the issuer is asked about tokens.
pub(super) fn introspection_url(metadata: &Metadata, issuer: &str, base: &Url) -> Result<Url, FetchError> {
    endpoint(metadata, metadata.introspection_endpoint.as_deref(), issuer, base, FetchError::NoIntrospectionUrl)
}

fn endpoint(
    metadata: &Metadata,
    named: Option<&str>,
    issuer: &str,
    base: &Url,
    missing: FetchError,
) -> Result<Url, FetchError> {
    // Without this check one issuer could speak for another (RFC 8414, section 3.3).
    if metadata.issuer != issuer {
        return Err(FetchError::OtherIssuer);
    }
    let url = rebased(Url::parse(named.ok_or(missing)?).map_err(|_| missing)?, issuer, base);
    match (base.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => Ok(url),
        // What comes without TLS is anybody's word, and a secret that goes out without it is everybody's.
        _ => Err(FetchError::Insecure),
    }
}

/// The metadata names addresses as the world sees them. Where the issuer has an address of its own for us, keys of the
/// issuer's origin are fetched there.
fn rebased(keys: Url, issuer: &str, base: &Url) -> Url {
    let of_issuer = Url::parse(issuer).is_ok_and(|issuer| issuer.origin() == keys.origin());
    if !of_issuer || base.origin() == keys.origin() {
        return keys;
    }
    let mut moved = base.clone();
    moved.set_path(keys.path());
    moved.set_query(keys.query());
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn metadata(issuer: &str, jwks_uri: Option<&str>) -> Metadata {
        let jwks_uri = jwks_uri.map(str::to_owned);
        Metadata { issuer: issuer.to_owned(), introspection_endpoint: jwks_uri.clone(), jwks_uri }
    }

    #[test]
    fn an_issuer_without_a_path_has_two_addresses_and_one_with_a_path_three() {
        let urls = |base| metadata_urls(&url(base)).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            urls("https://auth.example.com/"),
            [
                "https://auth.example.com/.well-known/oauth-authorization-server",
                "https://auth.example.com/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            urls("https://auth.example.com/realms/x"),
            [
                "https://auth.example.com/.well-known/oauth-authorization-server/realms/x",
                "https://auth.example.com/.well-known/openid-configuration/realms/x",
                "https://auth.example.com/realms/x/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn keys_of_the_issuer_s_origin_are_fetched_at_the_address_inside() {
        let issuer = "https://auth.example.com/realms/x";
        let inside = url("http://keycloak.auth.svc:8080/realms/x");
        let keys = |jwks_uri| keys_url(&metadata(issuer, Some(jwks_uri)), issuer, &inside).map(|url| url.to_string());
        assert_eq!(
            keys("https://auth.example.com/realms/x/certs?v=1"),
            Ok("http://keycloak.auth.svc:8080/realms/x/certs?v=1".to_owned())
        );
        assert_eq!(keys("https://keys.example.net/certs"), Ok("https://keys.example.net/certs".to_owned()));
        assert_eq!(
            keys("http://keycloak.auth.svc:8080/realms/x/certs"),
            Ok("http://keycloak.auth.svc:8080/realms/x/certs".to_owned())
        );
    }

    #[test]
    fn metadata_of_another_issuer_without_keys_or_with_keys_in_the_clear_is_refused() {
        let issuer = "https://auth.example.com";
        let base = url(issuer);
        let refused = |metadata| keys_url(&metadata, issuer, &base).expect_err("a refusal");
        let keys = Some("https://auth.example.com/jwks");
        assert_eq!(refused(metadata("https://auth.example.com/", keys)), FetchError::OtherIssuer);
        assert_eq!(refused(metadata(issuer, None)), FetchError::NoKeysUrl);
        assert_eq!(refused(metadata(issuer, Some("/jwks"))), FetchError::NoKeysUrl);
        assert_eq!(refused(metadata(issuer, Some("http://auth.example.com/jwks"))), FetchError::Insecure);
        assert_eq!(refused(metadata(issuer, Some("file:///etc/passwd"))), FetchError::Insecure);
        let ask = |url| introspection_url(&metadata(issuer, url), issuer, &base);
        assert_eq!(ask(Some("http://auth.example.com/introspect")), Err(FetchError::Insecure));
        assert_eq!(ask(None), Err(FetchError::NoIntrospectionUrl));
        assert_eq!(introspection_url(&metadata("https://b", keys), issuer, &base), Err(FetchError::OtherIssuer));
    }
}
