//! How the issuer's keys are fetched, kept and replaced, over sockets and with a clock that the tests turn.

mod auth_support;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use auth_support::{AUDIENCE, Bench, TurnedClock, authenticator, present};
use e2e_issuer::{Authority, Behaviour, Fetches, Issuer, Options};
use mcp_server::metrics::AuthResult;
use mcp_server_config::{Auth, Issuer as IssuerConfig};
use serde_json::Value;

fn one(issuer: IssuerConfig) -> Auth {
    Auth { issuers: vec![issuer], ..Auth::default() }
}

#[tokio::test]
async fn rotation_needs_no_restart_and_one_fetch() -> Result<()> {
    let bench = Bench::start().await?;
    bench.present(bench.token()).await?.principal()?;
    let before = bench.token().mint()?;
    bench.issuer.rotate()?;
    bench.present(bench.token()).await?.principal()?;
    bench.present(bench.token().subject("bob")).await?.principal()?;
    assert_eq!(bench.issuer.fetches(), Fetches { metadata: 1, keys: 2, tokens: 0, introspections: 0 });
    present(&bench.authenticator, &before).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch_in_each_cool_down() -> Result<()> {
    let bench = Bench::start().await?;
    bench.present(bench.token()).await?.principal()?;
    for (expected, turned) in [(2, 0), (2, 29), (3, 1), (3, 0)] {
        bench.clock.turn(turned);
        let flood = (0..50).map(|n| bench.present(bench.token().key_id(format!("kid-{n}"))));
        for answer in futures::future::join_all(flood).await {
            assert_eq!(answer?.status(), 401);
        }
        assert_eq!(bench.issuer.fetches().keys, expected, "after {turned} s");
    }
    // While it cools down the good are served.
    bench.present(bench.token()).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn a_token_that_names_no_key_is_tried_with_all_and_found_after_a_rotation() -> Result<()> {
    let bench = Bench::start().await?;
    bench.present(bench.token().key_id(Value::Null)).await?.principal()?;
    bench.issuer.rotate()?;
    bench.present(bench.token().key_id(Value::Null)).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn requests_that_wait_for_the_first_keys_share_one_fetch() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    issuer.behave(Behaviour::Hang);
    let bench = Bench::with(issuer, |_| {})?;
    let requests = futures::future::join_all((0..20).map(|_| bench.present(bench.token())));
    let release = async {
        while bench.issuer.fetches().metadata == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!bench.authenticator.loaded_once());
        bench.issuer.behave(Behaviour::Healthy);
    };
    let (answers, ()) = tokio::join!(requests, release);
    for answer in answers {
        answer?.principal()?;
    }
    assert_eq!(bench.issuer.fetches(), Fetches { metadata: 1, keys: 1, tokens: 0, introspections: 0 });
    assert!(bench.authenticator.loaded_once());
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_is_down_at_first_fails_closed_and_recovers_by_itself() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    issuer.behave(Behaviour::Status(503));
    let bench = Bench::with(issuer, |_| {})?;
    let refused = bench.present(bench.token()).await?.refused()?;
    assert_eq!((refused.status, refused.result), (503, AuthResult::Unavailable));
    assert!(refused.challenge.is_none() && refused.retry_after.is_some());
    assert!(!bench.authenticator.loaded_once());
    let report = &bench.authenticator.reports()[0];
    assert!(!report.ok);
    assert_eq!(report.error.as_deref(), Some("the authorization server answered with status 503"));
    assert!(matches!(bench.authenticator.health(), Some(Err(_))));

    bench.issuer.behave(Behaviour::Healthy);
    bench.turn_until(|bench| bench.authenticator.loaded_once()).await?;
    bench.present(bench.token()).await?.principal()?;
    assert!(matches!(bench.authenticator.health(), Some(Ok(()))));
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_ends_in_a_timeout() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    issuer.behave(Behaviour::Hang);
    let bench = Bench::with(issuer, |_| {})?;
    bench.turn_until(|bench| bench.authenticator.reports()[0].error.is_some()).await?;
    let error = bench.authenticator.reports()[0].error.clone();
    assert_eq!(error.as_deref(), Some("the authorization server did not answer in time"));
    Ok(())
}

#[tokio::test]
async fn known_keys_outlive_an_outage_for_a_day_and_no_longer() -> Result<()> {
    let bench = Bench::start().await?;
    let day = 24 * 60 * 60;
    bench.present(bench.token()).await?.principal()?;
    bench.issuer.behave(Behaviour::Status(500));

    bench.clock.turn(day - 1);
    bench.turn_until_failed().await?;
    let late = || bench.token().expires_in(2 * day.cast_signed());
    bench.present(late()).await?.principal()?;
    assert!(bench.authenticator.loaded_once() && bench.authenticator.reports()[0].ok);
    assert!(matches!(bench.authenticator.health(), Some(Err(_))));

    bench.clock.turn(1);
    let refused = bench.present(late().subject("bob")).await?.refused()?;
    assert_eq!((refused.status, refused.result), (503, AuthResult::Unavailable));
    assert!(bench.authenticator.loaded_once() && !bench.authenticator.reports()[0].ok);

    bench.issuer.behave(Behaviour::Healthy);
    bench.turn_until(|bench| bench.authenticator.reports()[0].ok).await?;
    bench.present(late().subject("bob")).await?.principal()?;
    Ok(())
}

impl Bench {
    async fn turn_until_failed(&self) -> Result<()> {
        // Without turning: the pause is over, the round only needs to end.
        while self.authenticator.reports()[0].error.is_none() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn keys_are_refreshed_in_the_background_when_most_of_their_lifetime_has_passed() -> Result<()> {
    for (cache_control, at) in
        [("max-age=1000", 800), ("max-age=1", 240), ("no-store", 240), ("max-age=999999", 2880), ("public", 480)]
    {
        let issuer = Issuer::start(Options::default()).await?;
        issuer.cache_control(cache_control);
        let bench = Bench::with(issuer, |_| {})?;
        bench.present(bench.token()).await?.principal()?;
        bench.clock.turn(at - 1);
        bench.present(bench.token().subject("bob")).await?.principal()?;
        assert_eq!(bench.issuer.fetches().keys, 1, "{cache_control}");
        bench.clock.turn(1);
        while bench.issuer.fetches().keys < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.issuer.fetches().metadata, 2, "{cache_control}");
    }
    Ok(())
}

#[tokio::test]
async fn answers_that_are_no_key_set_of_this_issuer_are_refused_in_fixed_words() -> Result<()> {
    for (behaviour, words) in [
        (Behaviour::Garbage, "the authorization server's answer is not the JSON that was expected"),
        (Behaviour::Oversized(300_000), "the authorization server's answer is too large"),
        (Behaviour::Redirect, "the authorization server answered with status 302"),
        (
            Behaviour::OtherIssuer,
            "the authorization server's metadata names another issuer: write auth.issuers[].url exactly as it does",
        ),
        (Behaviour::Status(404), "the authorization server answered with status 404"),
    ] {
        let issuer = Issuer::start(Options::default()).await?;
        issuer.behave(behaviour);
        let bench = Bench::with(issuer, |_| {})?;
        assert_eq!(bench.present(bench.token()).await?.status(), 503, "{behaviour:?}");
        assert_eq!(bench.authenticator.reports()[0].error.as_deref(), Some(words), "{behaviour:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_listening_is_said_in_fixed_words_too() -> Result<()> {
    let gone = Issuer::start(Options::default()).await?;
    let (url, token) = (gone.url().to_owned(), gone.token().audience(AUDIENCE).mint()?);
    gone.stop().await;
    let authenticator = authenticator(&one(IssuerConfig::new(url)), None, TurnedClock::new())?;
    assert_eq!(present(&authenticator, &token).await?.status(), 503);
    let error = authenticator.reports()[0].error.clone();
    assert_eq!(error.as_deref(), Some("the authorization server cannot be reached"));
    Ok(())
}

#[tokio::test]
async fn an_issuer_with_a_path_is_found() -> Result<()> {
    let issuer = Issuer::start(Options { path: "/realms/demo".to_owned(), ..Options::default() }).await?;
    let bench = Bench::with(issuer, |_| {})?;
    bench.present(bench.token()).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn metadata_and_keys_are_fetched_at_the_server_url_in_place_of_the_issuer() -> Result<()> {
    let url = "https://auth.example.com/realms/demo".to_owned();
    let issuer = Issuer::start(Options { url: Some(url.clone()), ..Options::default() }).await?;
    let inside = format!("http://{}/realms/demo", issuer.address()).parse().ok();
    let config = IssuerConfig { server_url: inside, ..IssuerConfig::new(url) };
    let bench = Bench::with(issuer, |auth| *auth = one(config))?;
    let principal = bench.present(bench.token()).await?.principal()?;
    assert_eq!(&*principal.issuer, "https://auth.example.com/realms/demo");
    Ok(())
}

#[tokio::test]
async fn a_jwks_url_needs_no_metadata() -> Result<()> {
    let issuer =
        Issuer::start(Options { url: Some("https://auth.example.com".to_owned()), ..Options::default() }).await?;
    let keys = format!("http://{}{}", issuer.address(), issuer.keys_path()).parse().ok();
    let config = IssuerConfig { jwks_url: keys, ..IssuerConfig::new(issuer.url().to_owned()) };
    let bench = Bench::with(issuer, |auth| *auth = one(config))?;
    bench.present(bench.token()).await?.principal()?;
    assert_eq!(bench.issuer.fetches(), Fetches { metadata: 0, keys: 1, tokens: 0, introspections: 0 });
    Ok(())
}

#[tokio::test]
async fn tls_is_trusted_by_the_ca_file_and_a_changed_file_counts() -> Result<()> {
    let (authority, other) = (Authority::make()?, Authority::make()?);
    let directory = tempfile::tempdir()?;
    let ca_file = directory.path().join("ca.crt");
    std::fs::write(&ca_file, other.pem())?;
    let good = authority.pem().to_owned();
    let issuer = Issuer::start(Options { tls: Some(authority), ..Options::default() }).await?;
    let config = IssuerConfig { ca_file: Some(ca_file.clone()), ..IssuerConfig::new(issuer.url().to_owned()) };
    let bench = Bench::with(issuer, |auth| *auth = one(config))?;

    assert_eq!(bench.present(bench.token()).await?.status(), 503);
    let error = bench.authenticator.reports()[0].error.clone().context("an error")?;
    assert!(error.starts_with("the TLS handshake with the authorization server failed"), "{error}");

    std::fs::write(&ca_file, "")?;
    bench.turn_until(|bench| bench.authenticator.reports()[0].error.as_ref().is_some_and(|now| *now != error)).await?;
    let error = bench.authenticator.reports()[0].error.clone().context("an error")?;
    assert!(error.starts_with("the file auth.issuers[].ca_file"), "{error}");

    std::fs::write(&ca_file, good)?;
    bench.turn_until(|bench| bench.authenticator.loaded_once()).await?;
    bench.present(bench.token()).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn without_a_ca_file_a_private_authority_is_not_trusted() -> Result<()> {
    let issuer = Issuer::start(Options { tls: Some(Authority::make()?), ..Options::default() }).await?;
    let bench = Bench::with(issuer, |_| {})?;
    assert_eq!(bench.present(bench.token()).await?.status(), 503);
    let error = bench.authenticator.reports()[0].error.clone().unwrap_or_default();
    assert!(error.starts_with("the TLS handshake"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_remembered_token_costs_nothing_and_ends_with_its_exp() -> Result<()> {
    let bench = Bench::start().await?;
    let token = bench.token().expires_in(100).mint()?;
    let first = present(&bench.authenticator, &token).await?.principal()?;
    let second = present(&bench.authenticator, &token).await?.principal()?;
    assert!(Arc::ptr_eq(&first, &second), "the second answer is the remembered one");

    // Past the leeway a remembered token would still be served if it were not forgotten.
    bench.clock.turn(131);
    let refused = present(&bench.authenticator, &token).await?.refused()?;
    assert_eq!(refused.result, AuthResult::Expired);
    Ok(())
}

#[tokio::test]
async fn a_token_is_remembered_no_longer_than_configured() -> Result<()> {
    for (seconds, remembered) in [(Some(0), 0), (Some(60), 60), (None, 300)] {
        let issuer = Issuer::start(Options::default()).await?;
        let bench = Bench::with(issuer, |auth| auth.token_cache_ttl = seconds)?;
        let token = bench.token().mint()?;
        let first = present(&bench.authenticator, &token).await?.principal()?;
        if remembered > 0 {
            bench.clock.turn(remembered - 1);
            assert!(Arc::ptr_eq(&first, &present(&bench.authenticator, &token).await?.principal()?), "{seconds:?}");
            bench.clock.turn(1);
        }
        assert!(!Arc::ptr_eq(&first, &present(&bench.authenticator, &token).await?.principal()?), "{seconds:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_reload_keeps_keys_and_enforces_new_audiences_at_once() -> Result<()> {
    let bench = Bench::start().await?;
    let token = bench.token().scopes("read").mint()?;
    let first = present(&bench.authenticator, &token).await?.principal()?;
    let reload = |auth: &Auth| authenticator(auth, Some(&bench.authenticator), bench.clock.clone());
    let base = Auth { issuer_url: Some(bench.issuer.url().to_owned()), ..Auth::default() };

    let same = reload(&base)?;
    assert!(same.loaded_once());
    assert!(Arc::ptr_eq(&first, &present(&same, &token).await?.principal()?), "nothing changed, nothing is forgotten");

    let other =
        IssuerConfig { audiences: vec!["other".to_owned()], ..IssuerConfig::new(bench.issuer.url().to_owned()) };
    let other = reload(&one(other))?;
    assert_eq!(present(&other, &token).await?.status(), 401);

    let without = Issuer::start(Options::default()).await?;
    let without = reload(&one(IssuerConfig::new(without.url().to_owned())))?;
    assert_eq!(present(&without, &token).await?.status(), 401);
    assert!(without.loaded_once(), "a new issuer takes no running server out of service");

    assert_eq!(bench.issuer.fetches().keys, 1, "no reload has fetched the keys again");
    Ok(())
}

#[tokio::test]
async fn a_dropped_authenticator_asks_no_more() -> Result<()> {
    let Bench { issuer, clock, authenticator } = Bench::start().await?;
    present(&authenticator, &issuer.token().audience(AUDIENCE).mint()?).await?.principal()?;
    drop(authenticator);
    clock.turn(24 * 60 * 60);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(issuer.fetches().keys, 1);
    Ok(())
}
