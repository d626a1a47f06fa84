//! Which tokens are accepted. Every hostile one is made by a real issuer, whose keys are fetched over a socket.

mod auth_support;

use anyhow::Result;
use auth_support::{AUDIENCE, Answer, Bench, INSIDE, ORIGIN, TurnedClock, authenticator, present, send};
use e2e_issuer::{Algorithm, Forgery, Issuer, Options};
use http::Request;
use mcp_server::metrics::AuthResult;
use mcp_server_config::{Anonymous, Auth, Issuer as IssuerConfig};
use serde_json::{Value, json};

#[tokio::test]
async fn a_good_token_of_each_key_type_makes_its_owner_the_caller() -> Result<()> {
    let bench = Bench::start().await?;
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = bench.token().algorithm(algorithm).scopes("user read");
        let principal = bench.present(token).await?.principal()?;
        assert_eq!(&*principal.issuer, bench.issuer.url());
        assert_eq!(&*principal.subject, "alice");
        assert_eq!(principal.client_id.as_deref(), Some("test-client"));
        assert_eq!(*principal.scopes, ["read".to_owned(), "user".to_owned()]);
    }
    Ok(())
}

#[tokio::test]
async fn every_hostile_token_is_refused_and_counted_as_invalid() -> Result<()> {
    let bench = Bench::start().await?;
    let jwk = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    let foreign = || bench.token().forged(Forgery::ForeignKey);
    let hostile = [
        ("unsigned", bench.token().forged(Forgery::Unsigned)),
        ("public key as HMAC secret", bench.token().forged(Forgery::PublicKeyAsSecret)),
        ("foreign RSA key", foreign()),
        ("foreign P-256 key", foreign().algorithm(Algorithm::ES256)),
        ("foreign Ed25519 key", foreign().algorithm(Algorithm::EdDSA)),
        ("foreign key without kid", foreign().key_id(Value::Null)),
        ("foreign key with its own jwk", foreign().header("jwk", jwk)),
        ("foreign key with a jku", foreign().header("jku", "https://evil.example.com/jwks")),
        ("changed payload", bench.token().forged(Forgery::ChangedPayload)),
        ("changed signature", bench.token().forged(Forgery::ChangedSignature)),
        ("an RS256 key that signs PS256", bench.token().algorithm(Algorithm::PS256)),
        ("unknown kid", bench.token().key_id("nobody-knows")),
        ("kid of another type", bench.token().key_id(json!({"a": 1}))),
        ("critical extension", bench.token().header("crit", json!(["b64"]))),
        ("logout token", bench.token().header("typ", "logout+jwt")),
        ("other issuer", bench.token().claim("iss", "https://evil.example.com")),
        ("issuer with a slash", bench.token().claim("iss", format!("{}/", bench.issuer.url()))),
        ("list of issuers", bench.token().claim("iss", json!([bench.issuer.url()]))),
        ("no issuer", bench.token().without("iss")),
        ("other audience", bench.token().audience("https://other.example.com/mcp")),
        ("audience of the host only", bench.token().audience(ORIGIN)),
        ("audience that begins alike", bench.token().audience("https://mcp.example.com/mcp-admin")),
        ("no audience", bench.token().without("aud")),
        ("empty audiences", bench.token().claim("aud", json!([]))),
        ("no exp", bench.token().without("exp")),
        ("exp as text", bench.token().claim("exp", "9999999999")),
        ("nbf in the future", bench.token().not_before_in(600)),
        ("nbf as text", bench.token().claim("nbf", "0")),
        ("no owner", bench.token().without("sub").without("client_id")),
        ("too long", bench.token().claim("padding", "x".repeat(17 * 1024))),
    ];
    for (what, token) in hostile {
        let refused = bench.present(token).await?.refused()?;
        assert_eq!((refused.status, refused.result), (401, AuthResult::Invalid), "{what}");
        let challenge = refused.challenge.unwrap_or_default();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\", "), "{what}: {challenge}");
    }
    for junk in ["a", "a.b", "a.b.c", "a.b.c.d", "..", "e30.e30.e30", "!"] {
        assert!((400..=401).contains(&present(&bench.authenticator, junk).await?.status()), "{junk}");
    }

    // It still serves the good one: the refusals above were not an outage.
    bench.present(bench.token()).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn an_expired_token_is_refused_as_such_after_the_leeway() -> Result<()> {
    let bench = Bench::start().await?;
    bench.present(bench.token().expires_in(-20)).await?.principal()?;
    let refused = bench.present(bench.token().expires_in(-31)).await?.refused()?;
    assert_eq!((refused.status, refused.result), (401, AuthResult::Expired));
    Ok(())
}

#[tokio::test]
async fn an_audience_is_any_public_url_in_any_spelling() -> Result<()> {
    let bench = Bench::start().await?;
    for audience in
        [AUDIENCE, "https://mcp.example.com/mcp/", "HTTPS://MCP.example.com:443/mcp", "http://weather.demo.svc/mcp"]
    {
        bench.present(bench.issuer.token().audience(audience)).await?.principal()?;
    }
    let both = bench.issuer.token().audiences(&["https://other.example.com", AUDIENCE]);
    bench.present(both).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn a_loopback_name_is_an_audience_only_where_it_was_asked() -> Result<()> {
    let bench = Bench::start().await?;
    let token = bench.issuer.token().audience("http://localhost:8000/mcp").mint()?;
    let request = || Request::post("/mcp").header("Authorization", format!("Bearer {token}"));
    send(&bench.authenticator, "http://localhost:8000", request()).await?.principal()?;
    // Remembered for the one name, it is still not good for the other.
    assert_eq!(send(&bench.authenticator, ORIGIN, request()).await?.status(), 401);
    Ok(())
}

#[tokio::test]
async fn an_issuer_s_own_audiences_replace_the_urls() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    let own = IssuerConfig { audiences: vec!["weather-api".to_owned()], ..IssuerConfig::new(issuer.url().to_owned()) };
    let bench = Bench::with(issuer, |auth| *auth = Auth { issuers: vec![own], ..Auth::default() })?;
    bench.present(bench.token().audience("weather-api")).await?.principal()?;
    assert_eq!(bench.present(bench.token()).await?.status(), 401);
    Ok(())
}

#[tokio::test]
async fn the_resource_server_url_is_an_audience_too() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    let bench = Bench::with(issuer, |auth| auth.resource_server_url = "https://api.example.com".parse().ok())?;
    bench.present(bench.token().audience("https://api.example.com")).await?.principal()?;
    bench.present(bench.token().audience("https://api.example.com/")).await?.principal()?;
    bench.present(bench.token()).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn each_issuer_s_tokens_are_tried_with_its_own_keys_only() -> Result<()> {
    let (one, two) = (Issuer::start(Options::default()).await?, Issuer::start(Options::default()).await?);
    let issuers = [&one, &two].map(|issuer| IssuerConfig::new(issuer.url().to_owned())).into();
    let authenticator = authenticator(&Auth { issuers, ..Auth::default() }, None, TurnedClock::new())?;
    for issuer in [&one, &two] {
        let token = issuer.token().audience(AUDIENCE).mint()?;
        let principal = present(&authenticator, &token).await?.principal()?;
        assert_eq!(&*principal.issuer, issuer.url());
    }
    // One issuer signs with its good key and says that it is the other.
    let mixed = one.token().audience(AUDIENCE).claim("iss", two.url()).mint()?;
    assert_eq!(present(&authenticator, &mixed).await?.status(), 401);
    assert_eq!(authenticator.reports().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_missing_token_is_challenged_without_an_error_and_with_all_a_client_needs() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    let bench = Bench::with(issuer, |auth| auth.required_scopes = vec!["user".to_owned(), "read".to_owned()])?;
    for (asked, metadata) in [
        (ORIGIN, "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"),
        (INSIDE, "http://weather.demo.svc/.well-known/oauth-protected-resource/mcp"),
    ] {
        for request in [Request::post("/mcp"), Request::get("/mcp").header("Authorization", "Basic YTpi")] {
            let refused = send(&bench.authenticator, asked, request).await?.refused()?;
            assert_eq!((refused.status, refused.result), (401, AuthResult::Missing));
            let expected = format!("Bearer resource_metadata=\"{metadata}\", scope=\"user read\"");
            assert_eq!(refused.challenge.as_deref(), Some(expected.as_str()));
        }
    }
    Ok(())
}

#[tokio::test]
async fn malformed_credentials_are_a_bad_request_even_beside_a_good_token() -> Result<()> {
    let bench = Bench::start().await?;
    let good = format!("Bearer {}", bench.token().mint()?);
    for request in [
        Request::post("/mcp").header("Authorization", "Bearer"),
        Request::post("/mcp").header("Authorization", "Bearer two words"),
        Request::post("/mcp").header("Authorization", &good).header("Authorization", &good),
        Request::post("/mcp?access_token=x").header("Authorization", &good),
        Request::get("/mcp?access_token=x"),
    ] {
        let refused = send(&bench.authenticator, ORIGIN, request).await?.refused()?;
        assert_eq!((refused.status, refused.result), (400, AuthResult::Invalid));
        let challenge = refused.challenge.unwrap_or_default();
        assert!(challenge.starts_with("Bearer error=\"invalid_request\", "), "{challenge}");
    }
    Ok(())
}

#[tokio::test]
async fn where_everybody_is_served_a_bad_token_is_still_refused_if_tokens_are_known() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    let bench = Bench::with(issuer, |auth| auth.anonymous = Anonymous::Allow)?;
    assert!(matches!(send(&bench.authenticator, ORIGIN, Request::post("/mcp")).await?, Answer::Served(None)));
    bench.present(bench.token()).await?.principal()?;
    assert_eq!(bench.present(bench.token().forged(Forgery::ForeignKey)).await?.status(), 401);

    let open = Auth { anonymous: Anonymous::Allow, ..Auth::default() };
    let open = authenticator(&open, None, TurnedClock::new())?;
    assert!(matches!(present(&open, "whatever").await?, Answer::Served(None)));
    assert!(open.metadata(&auth_support::origin(ORIGIN)).is_none());
    assert!(open.loaded_once() && open.health().is_none());
    Ok(())
}

#[tokio::test]
async fn the_metadata_is_that_of_the_url_that_was_asked() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    let scopes = || vec!["user".to_owned(), "offline_access".to_owned()];
    let bench = Bench::with(issuer, |auth| auth.required_scopes = scopes())?;
    for (asked, resource) in [(ORIGIN, AUDIENCE), (INSIDE, "http://weather.demo.svc/mcp")] {
        assert_eq!(
            bench.authenticator.metadata(&auth_support::origin(asked)),
            Some(json!({
                "resource": resource,
                "authorization_servers": [bench.issuer.url()],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["user"],
            }))
        );
    }

    let overridden = Bench::with(Issuer::start(Options::default()).await?, |auth| {
        auth.resource_server_url = "https://API.example.com/".parse().ok();
    })?;
    let document = overridden.authenticator.metadata(&auth_support::origin(ORIGIN)).unwrap_or_default();
    assert_eq!(document["resource"], "https://api.example.com");
    Ok(())
}

#[tokio::test]
async fn no_token_shows_in_a_refusal() -> Result<()> {
    let bench = Bench::start().await?;
    let token = bench.token().forged(Forgery::ForeignKey).mint()?;
    let refused = present(&bench.authenticator, &token).await?.refused()?;
    let shown = format!("{refused:?}");
    for part in token.split('.') {
        assert!(!shown.contains(part));
    }
    Ok(())
}
