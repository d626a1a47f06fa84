//! Tokens from the issuer's token endpoint, reached as a client outside of the cluster reaches it.

use anyhow::{Context, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::Endpoint;

/// Who asks for a token.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: String,
}

/// Asks for a token (RFC 6749 client credentials, RFC 8707 resource).
pub async fn fetch(issuer: &Endpoint, who: &Credentials, scope: &str, resource: &str) -> Result<String> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &who.id)
        .append_pair("client_secret", &who.secret)
        .append_pair("scope", scope)
        .append_pair("resource", resource)
        .finish();
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))]);
    let answer = issuer.send(Method::POST, "/token", headers, form.as_bytes()).await?;
    let answer = answer.expect(StatusCode::OK).context("ask the issuer for a token")?.json()?;
    Ok(answer["access_token"].as_str().context("the issuer's answer has no access_token")?.to_owned())
}
