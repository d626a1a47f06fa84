//! The issuer's HTTP interface.

use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::extract::{RawForm, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::behaviour::{Behaviour, Document};
use crate::issuer::{Client, Shared};
use crate::token::TokenBuilder;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let path = shared.path.clone();
    let router = Router::new()
        .route("/health", get(async || "ok"))
        // RFC 8414, section 3.1, and the forms that MCP clients try: between host and path, and after the path.
        .route(&format!("/.well-known/oauth-authorization-server{path}"), get(metadata))
        .route(&format!("/.well-known/openid-configuration{path}"), get(metadata))
        .route(&format!("{path}/jwks"), get(keys))
        .route(&format!("{path}/token"), post(token))
        .route(&format!("{path}/authorize"), get(authorize))
        .route(&format!("{path}/introspect"), post(introspect))
        .route(&format!("{path}/revoke"), post(revoke))
        .route(&format!("{path}/admin/rotate"), post(rotate));
    let router = match path.as_str() {
        "" => router,
        path => router.route(&format!("{path}/.well-known/openid-configuration"), get(metadata)),
    };
    router.with_state(shared)
}

async fn metadata(State(issuer): State<Arc<Shared>>) -> Response {
    let behaviour = issuer.control.asked(Document::Metadata).await;
    let url = issuer.url.trim_end_matches('/');
    let named = if behaviour == Behaviour::OtherIssuer { "https://other.example.com" } else { &issuer.url };
    let mut document = json!({
        "issuer": named,
        "jwks_uri": format!("{url}/jwks"),
        "token_endpoint": format!("{url}/token"),
        "introspection_endpoint": format!("{url}/introspect"),
        "revocation_endpoint": format!("{url}/revoke"),
        // Clients' schemas ask for the next two although only `client_credentials` is granted.
        "authorization_endpoint": format!("{url}/authorize"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
    });
    if behaviour == Behaviour::NoKeys
        && let Some(members) = document.as_object_mut()
    {
        members.remove("jwks_uri");
    }
    answer(&issuer, behaviour, &document)
}

async fn keys(State(issuer): State<Arc<Shared>>) -> Response {
    let behaviour = issuer.control.asked(Document::Keys).await;
    answer(&issuer, behaviour, &issuer.keys.set())
}

fn answer(issuer: &Shared, behaviour: Behaviour, document: &Value) -> Response {
    let body = match behaviour {
        Behaviour::Status(status) => {
            return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        }
        Behaviour::Redirect => return (StatusCode::FOUND, [(header::LOCATION, "/health")]).into_response(),
        Behaviour::Garbage => "<html>not JSON</html>".to_owned(),
        Behaviour::Oversized(bytes) => format!("{{\"keys\":[],\"padding\":\"{}\"}}", "x".repeat(bytes)),
        Behaviour::Healthy | Behaviour::OtherIssuer | Behaviour::NoKeys | Behaviour::Hang => document.to_string(),
    };
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    let cache_control = issuer.cache_control.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = cache_control.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}

async fn authorize() -> Response {
    refusal(StatusCode::BAD_REQUEST, "unsupported_response_type")
}

async fn rotate(State(issuer): State<Arc<Shared>>) -> Response {
    match tokio::task::spawn_blocking(move || issuer.keys.rotate()).await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Introspection (RFC 7662), for clients only: the answer tells who somebody is.
async fn introspect(State(issuer): State<Arc<Shared>>, headers: HeaderMap, RawForm(form): RawForm) -> Response {
    let behaviour = issuer.control.asked(Document::Introspection).await;
    let Some(token) = token_of_client(&issuer, &headers, &form) else {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client");
    };
    answer(&issuer, behaviour, &issuer.issued.introspect(&token))
}

/// Revocation (RFC 7009).
async fn revoke(State(issuer): State<Arc<Shared>>, headers: HeaderMap, RawForm(form): RawForm) -> Response {
    let Some(token) = token_of_client(&issuer, &headers, &form) else {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client");
    };
    issuer.issued.revoke(&token);
    StatusCode::OK.into_response()
}

/// The form's `token`, if it came from a client of ours.
fn token_of_client(issuer: &Shared, headers: &HeaderMap, form: &[u8]) -> Option<String> {
    find(&issuer.clients, &basic(headers)?)?;
    form_urlencoded::parse(form).find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

/// The token endpoint (RFC 6749, section 4.4; RFC 8707 `resource`).
async fn token(State(issuer): State<Arc<Shared>>, headers: HeaderMap, RawForm(form): RawForm) -> Response {
    issuer.control.asked(Document::Token).await;
    let form: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());

    if field("grant_type") != Some("client_credentials") {
        return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let credentials = basic(&headers).or_else(|| Some((field("client_id")?.into(), field("client_secret")?.into())));
    let Some(client) = credentials.and_then(|credentials| find(&issuer.clients, &credentials)) else {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client");
    };
    let scopes: Vec<&str> = match field("scope") {
        Some(scopes) => scopes.split_ascii_whitespace().collect(),
        None => client.scopes.iter().map(String::as_str).collect(),
    };
    if !scopes.iter().all(|scope| client.scopes.iter().any(|allowed| allowed == scope)) {
        return refusal(StatusCode::BAD_REQUEST, "invalid_scope");
    }

    let scope = scopes.join(" ");
    let resources: Vec<&str> =
        form.iter().filter(|(key, _)| key == "resource").map(|(_, value)| value.as_str()).collect();
    let builder = TokenBuilder::new(&issuer)
        .subject(&client.id)
        .claim("client_id", client.id.as_str())
        .scopes(&scope)
        .expires_in(i64::try_from(issuer.token_seconds).unwrap_or(i64::MAX));
    let builder = match resources.as_slice() {
        [] => builder,
        [one] => builder.audience(one),
        many => builder.audiences(many),
    };
    let Ok(token) = builder.mint() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let body = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": issuer.token_seconds, "scope": scope,
    });
    no_store(StatusCode::OK, &body)
}

/// Client credentials from `Authorization: Basic`; both parts are form-encoded (RFC 6749, section 2.3.1).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // As a key without `=`, since a plain secret may hold one.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes()).next().map_or_else(String::new, |(key, _)| key.into_owned())
}

fn find<'a>(clients: &'a [Client], (id, secret): &(String, String)) -> Option<&'a Client> {
    clients.iter().find(|client| {
        let equal = aws_lc_rs::constant_time::verify_slices_are_equal(client.secret.as_bytes(), secret.as_bytes());
        client.id == *id && equal.is_ok()
    })
}

fn refusal(status: StatusCode, error: &str) -> Response {
    no_store(status, &json!({ "error": error }))
}

fn no_store(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}
