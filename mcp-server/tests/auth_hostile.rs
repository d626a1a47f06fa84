//! What hostile clients try with tokens beyond the token itself: to make the runtime fetch, compute or confuse.
//! Each forged token by itself: `auth_tokens`.

mod auth_support;

use anyhow::Result;
use auth_support::{AUDIENCE, Bench, ORIGIN, TurnedClock, authenticator, present, send};
use e2e_issuer::{Fetches, Forgery, Issuer, Options};
use http::Request;
use mcp_server::metrics::AuthResult;
use mcp_server_config::{Auth, Issuer as IssuerConfig};
use serde_json::json;

#[tokio::test]
async fn a_flood_of_a_thousand_unknown_keys_is_one_fetch() -> Result<()> {
    let bench = Bench::start().await?;
    bench.present(bench.token()).await?.principal()?;
    for round in 0..10 {
        let flood = (0..100).map(|n| bench.present(bench.token().key_id(format!("kid-{round}-{n}"))));
        for answer in futures::future::join_all(flood).await {
            assert_eq!(answer?.status(), 401);
        }
    }
    assert_eq!(bench.issuer.fetches().keys, 2, "the first keys, and one look for newer ones");
    bench.present(bench.token()).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn keys_that_a_token_brings_or_points_to_are_never_used_nor_fetched() -> Result<()> {
    let bench = Bench::start().await?;
    bench.present(bench.token()).await?.principal()?;
    let evil = Issuer::start(Options::default()).await?;
    let keys = format!("{}{}", evil.url(), evil.keys_path());
    for (member, value) in [
        ("jku", json!(keys)),
        ("x5u", json!(keys)),
        ("jwk", json!({"kty": "RSA", "alg": "RS256", "n": "AQAB", "e": "AQAB"})),
        ("x5c", json!(["MIIB"])),
    ] {
        // Signed by the other issuer, under the name of ours and with the key that it brings.
        let token = evil.token().audience(AUDIENCE).claim("iss", bench.issuer.url()).header(member, value.clone());
        assert_eq!(present(&bench.authenticator, &token.mint()?).await?.status(), 401, "{member}");
        // In a token that is good without it, it changes nothing.
        let good = bench.token().header(member, value);
        assert!([200, 401].contains(&bench.present(good).await?.status()), "{member}");
    }
    assert_eq!(evil.fetches(), Fetches { metadata: 0, keys: 0, tokens: 0, introspections: 0 });
    Ok(())
}

#[tokio::test]
async fn a_token_of_one_issuer_is_good_for_no_other_among_ten() -> Result<()> {
    let mut issuers = Vec::new();
    for _ in 0..10 {
        issuers.push(Issuer::start(Options::default()).await?);
    }
    let config = issuers.iter().map(|issuer| IssuerConfig::new(issuer.url().to_owned())).collect();
    let authenticator = authenticator(&Auth { issuers: config, ..Auth::default() }, None, TurnedClock::new())?;
    for (index, issuer) in issuers.iter().enumerate() {
        let principal = present(&authenticator, &issuer.token().audience(AUDIENCE).mint()?).await?.principal()?;
        assert_eq!(&*principal.issuer, issuer.url());
        let next = issuers[(index + 1) % issuers.len()].url();
        let mixed = issuer.token().audience(AUDIENCE).claim("iss", next).mint()?;
        assert_eq!(present(&authenticator, &mixed).await?.status(), 401, "{index} as its neighbour");
    }
    for issuer in &issuers {
        assert!(issuer.fetches().keys <= 2, "its own keys, and one look for a neighbour's");
    }
    Ok(())
}

#[tokio::test]
async fn an_oversize_token_is_refused_before_anything_is_fetched() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    issuer.behave(e2e_issuer::Behaviour::Status(500));
    let bench = Bench::with(issuer, |_| {})?;
    let long = bench.token().claim("padding", "x".repeat(16 * 1024)).mint()?;
    let refused = present(&bench.authenticator, &long).await?.refused()?;
    // One that was looked at would be a 503: there are no keys.
    assert_eq!((refused.status, refused.result), (401, AuthResult::Invalid));
    Ok(())
}

#[tokio::test]
async fn two_ways_to_authenticate_are_a_bad_request_whatever_they_hold() -> Result<()> {
    let bench = Bench::start().await?;
    let good = format!("Bearer {}", bench.token().mint()?);
    for request in [
        Request::post("/mcp?access_token=x").header("Authorization", &good),
        Request::post("/mcp?a=1&access%5Ftoken=x").header("Authorization", &good),
        Request::post("/mcp").header("Authorization", &good).header("Authorization", "Basic YTpi"),
        Request::post("/mcp").header("Authorization", format!("{good}, Basic YTpi")),
    ] {
        let refused = send(&bench.authenticator, ORIGIN, request).await?.refused()?;
        assert_eq!((refused.status, refused.result), (400, AuthResult::Invalid));
        assert!(refused.challenge.unwrap_or_default().starts_with("Bearer error=\"invalid_request\""));
    }
    Ok(())
}

#[tokio::test]
async fn refused_tokens_leave_nothing_behind_that_a_good_one_would_meet() -> Result<()> {
    let bench = Bench::start().await?;
    for _ in 0..200 {
        assert_eq!(bench.present(bench.token().forged(Forgery::ChangedSignature)).await?.status(), 401);
    }
    bench.present(bench.token()).await?.principal()?;
    assert_eq!(bench.issuer.fetches().keys, 1, "a wrong signature under a known key is no reason to fetch");
    Ok(())
}
