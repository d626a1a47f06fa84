//! Tokens that their issuer is asked about (RFC 7662), over sockets and with a clock that the tests turn.

mod auth_support;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use auth_support::{AUDIENCE, Bench, present};
use e2e_issuer::{Behaviour, Client, Fetches, Forgery, Issuer, Options, TokenBuilder};
use mcp_server::metrics::AuthResult;
use mcp_server_config::{Auth, Introspected, Introspection, Issuer as IssuerConfig};
use serde_json::json;

/// A secret that is not the same when it is encoded.
const SECRET: &str = "s%c+r e&t";

struct Asked {
    bench: Bench,
    directory: tempfile::TempDir,
}

impl Asked {
    async fn start(tokens: Introspected) -> Result<Self> {
        Self::with(tokens, |_| {}).await
    }

    async fn with(tokens: Introspected, change: impl FnOnce(&mut IssuerConfig)) -> Result<Self> {
        let client = Client { id: "runtime:1".to_owned(), secret: SECRET.to_owned(), scopes: Vec::new() };
        let issuer = Issuer::start(Options { clients: vec![client], ..Options::default() }).await?;
        let directory = tempfile::tempdir()?;
        std::fs::write(secret_file(&directory), format!("{SECRET}\n"))?;
        let mut config = config(&issuer, &directory, tokens);
        change(&mut config);
        let bench = Bench::with(issuer, |auth| *auth = Auth { issuers: vec![config], ..Auth::default() })?;
        while !bench.authenticator.loaded_once() {
            tokio::task::yield_now().await;
        }
        Ok(Self { bench, directory })
    }

    fn token(&self) -> TokenBuilder<'_> {
        self.bench.token()
    }

    async fn ask(&self, token: &str) -> Result<auth_support::Answer> {
        present(&self.bench.authenticator, token).await
    }

    async fn refused(&self, token: TokenBuilder<'_>) -> Result<(u16, AuthResult)> {
        let refused = self.ask(&token.opaque()).await?.refused()?;
        Ok((refused.status, refused.result))
    }

    fn questions(&self) -> u32 {
        self.bench.issuer.fetches().introspections
    }
}

fn secret_file(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("secret")
}

fn config(issuer: &Issuer, directory: &tempfile::TempDir, tokens: Introspected) -> IssuerConfig {
    let introspection = Introspection {
        url: None,
        client_id: "runtime:1".to_owned(),
        client_secret_file: secret_file(directory),
        tokens,
    };
    IssuerConfig { introspection: Some(introspection), ..IssuerConfig::new(issuer.url().to_owned()) }
}

#[tokio::test]
async fn a_token_that_says_nothing_is_its_owner_s_by_the_issuer_s_word() -> Result<()> {
    let asked = Asked::start(Introspected::Opaque).await?;
    let principal = asked.ask(&asked.token().scopes("read write").opaque()).await?.principal()?;
    assert_eq!((&*principal.issuer, &*principal.subject), (asked.bench.issuer.url(), "alice"));
    assert_eq!(*principal.scopes, ["read".to_owned(), "write".to_owned()]);
    assert_eq!(principal.client_id.as_deref(), Some("test-client"));

    // JWTs are verified here.
    asked.ask(&asked.token().mint()?).await?.principal()?;
    assert_eq!(asked.questions(), 1);
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_jwt_is_wrong_with_an_answer_too() -> Result<()> {
    let asked = Asked::start(Introspected::Opaque).await?;
    let invalid = (401, AuthResult::Invalid);
    for (what, token) in [
        ("no audience", asked.token().without("aud")),
        ("other audience", asked.token().audience("https://other.example.com/mcp")),
        ("other issuer", asked.token().claim("iss", "https://evil.example.com")),
        ("not yet", asked.token().not_before_in(600)),
        ("no owner", asked.token().without("sub").without("client_id")),
        ("not active", asked.token().claim("active", false)),
        ("a refresh token", asked.token().claim("token_use", "refresh_token")),
        ("bound to a proof", asked.token().claim("token_type", "DPoP")),
    ] {
        assert_eq!(asked.refused(token).await?, invalid, "{what}");
    }
    for unknown in ["opaque", "a.b.c", "opaque_00000000000000000000000000000000"] {
        let refused = asked.ask(unknown).await?.refused()?;
        assert_eq!((refused.status, refused.result), invalid, "{unknown}");
    }
    // An issuer that calls an ended token active.
    assert_eq!(asked.refused(asked.token().claim("exp", -1)).await?.0, 401);
    // It names its owner by the client alone.
    let robot = asked.token().without("sub").without("iss").opaque();
    assert_eq!(&*asked.ask(&robot).await?.principal()?.subject, "test-client");
    Ok(())
}

#[tokio::test]
async fn a_good_answer_counts_for_a_minute_and_a_bad_one_for_ten_seconds() -> Result<()> {
    let asked = Asked::start(Introspected::Opaque).await?;
    let token = asked.token().opaque();
    let first = asked.ask(&token).await?.principal()?;
    asked.bench.clock.turn(59);
    assert!(Arc::ptr_eq(&first, &asked.ask(&token).await?.principal()?));
    asked.bench.issuer.revoke(&token);
    asked.bench.clock.turn(1);
    assert_eq!(asked.ask(&token).await?.status(), 401, "revoked a minute ago at most");
    asked.bench.clock.turn(9);
    assert_eq!((asked.ask(&token).await?.status(), asked.questions()), (401, 2));
    asked.bench.clock.turn(1);
    assert_eq!((asked.ask(&token).await?.status(), asked.questions()), (401, 3));

    // It ends 20 s from now, and the leeway is for the check, not for the memory.
    let short = asked.token().expires_in(70 + 20).opaque();
    for (turned, questions) in [(0, 4), (18, 4), (12, 5)] {
        asked.bench.clock.turn(turned);
        asked.ask(&short).await?.principal()?;
        assert_eq!(asked.questions(), questions);
    }
    Ok(())
}

#[tokio::test]
async fn requests_with_one_token_share_one_question() -> Result<()> {
    let asked = Asked::start(Introspected::Opaque).await?;
    // The first question also finds out where to ask.
    asked.ask(&asked.token().opaque()).await?.principal()?;
    asked.bench.issuer.behave(Behaviour::Hang);
    let token = asked.token().opaque();
    let requests = futures::future::join_all((0..50).map(|_| asked.ask(&token)));
    let release = async {
        while asked.questions() < 2 {
            tokio::task::yield_now().await;
        }
        asked.bench.issuer.behave(Behaviour::Healthy);
    };
    let (answers, ()) = tokio::join!(requests, release);
    for answer in answers {
        answer?.principal()?;
    }
    assert_eq!(asked.questions(), 2);
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_serves_nobody_new_and_is_not_asked_in_vain() -> Result<()> {
    let asked = Asked::start(Introspected::Opaque).await?;
    let known = asked.token().opaque();
    asked.ask(&known).await?.principal()?;
    for behaviour in [Behaviour::Status(500), Behaviour::Garbage, Behaviour::Oversized(300_000), Behaviour::Redirect] {
        asked.bench.issuer.behave(behaviour);
        let refused = asked.ask(&asked.token().opaque()).await?.refused()?;
        assert_eq!((refused.status, refused.result), (503, AuthResult::Unavailable), "{behaviour:?}");
        assert!(refused.retry_after.is_some() && refused.challenge.is_none());
        assert!(matches!(asked.bench.authenticator.health(), Some(Err(_))));

        let questions = asked.questions();
        for _ in 0..20 {
            assert_eq!(asked.ask(&asked.token().opaque()).await?.status(), 503);
        }
        assert_eq!(asked.questions(), questions, "for a moment nobody asks");
        asked.ask(&known).await?.principal()?;
        asked.bench.clock.turn(1);
    }
    asked.bench.issuer.behave(Behaviour::Healthy);
    asked.ask(&asked.token().opaque()).await?.principal()?;
    assert!(matches!(asked.bench.authenticator.health(), Some(Ok(()))));
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_given_up() -> Result<()> {
    let asked = Asked::start(Introspected::Opaque).await?;
    asked.ask(&asked.token().opaque()).await?.principal()?;
    asked.bench.issuer.behave(Behaviour::Hang);
    let token = asked.token().opaque();
    let late = async {
        while asked.questions() < 2 {
            tokio::task::yield_now().await;
        }
        asked.bench.clock.turn(4);
    };
    let (answer, ()) = tokio::join!(asked.ask(&token), late);
    assert_eq!(answer?.status(), 503);
    let error = asked.bench.authenticator.reports()[0].error.clone();
    assert_eq!(error.as_deref(), Some("the authorization server did not answer in time"));
    asked.bench.issuer.behave(Behaviour::Healthy);
    Ok(())
}

#[tokio::test]
async fn a_wrong_secret_is_told_as_such_and_a_new_one_is_used_without_a_restart() -> Result<()> {
    let asked = Asked::start(Introspected::Opaque).await?;
    for (secret, told) in
        [("wrong", "refuses this server's introspection client"), ("\n", "cannot be read or is empty")]
    {
        std::fs::write(secret_file(&asked.directory), secret)?;
        assert_eq!(asked.ask(&asked.token().opaque()).await?.status(), 503);
        let error = asked.bench.authenticator.reports()[0].error.clone().unwrap_or_default();
        assert!(error.contains(told), "{error}");
        asked.bench.clock.turn(1);
    }
    std::fs::write(secret_file(&asked.directory), SECRET)?;
    asked.ask(&asked.token().opaque()).await?.principal()?;
    Ok(())
}

#[tokio::test]
async fn a_revoked_jwt_is_refused_where_all_tokens_are_asked_about() -> Result<()> {
    let asked = Asked::start(Introspected::All).await?;
    let token = asked.token().mint()?;
    asked.ask(&token).await?.principal()?;
    asked.bench.issuer.revoke(&token);
    asked.bench.clock.turn(60);
    assert_eq!(asked.ask(&token).await?.status(), 401);
    assert_eq!(asked.questions(), 2);

    // What is no good by itself is not worth a question.
    for forgery in [Forgery::ForeignKey, Forgery::Unsigned, Forgery::ChangedPayload] {
        assert_eq!(asked.ask(&asked.token().forged(forgery).mint()?).await?.status(), 401);
    }
    assert_eq!(asked.questions(), 2);
    Ok(())
}

#[tokio::test]
async fn the_address_may_be_given_and_an_answer_is_that_issuer_s_only() -> Result<()> {
    let asked = Asked::with(Introspected::Opaque, |issuer| {
        let url = format!("{}/introspect", issuer.url).parse().ok();
        issuer.introspection.as_mut().expect("a section").url = url;
    })
    .await?;
    asked.ask(&asked.token().opaque()).await?.principal()?;
    assert_eq!(asked.bench.issuer.fetches(), Fetches { metadata: 1, keys: 1, tokens: 0, introspections: 1 });

    // Beside one that is down, the token of one that answers is served; one that nobody knows may be of the other.
    let down = Issuer::start(Options::default()).await?;
    let down_config = config(&down, &asked.directory, Introspected::Opaque);
    down.stop().await;
    let auth = Auth {
        issuers: vec![down_config, config(&asked.bench.issuer, &asked.directory, Introspected::Opaque)],
        ..Auth::default()
    };
    let both = auth_support::authenticator(&auth, None, asked.bench.clock.clone())?;
    let token = asked.token().opaque();
    assert_eq!(&*present(&both, &token).await?.principal()?.issuer, asked.bench.issuer.url());
    assert_eq!(present(&both, "opaque_unknown").await?.status(), 503);
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_has_no_keys_is_asked_about_everything() -> Result<()> {
    let client = Client { id: "runtime:1".to_owned(), secret: SECRET.to_owned(), scopes: Vec::new() };
    let issuer = Issuer::start(Options { clients: vec![client], ..Options::default() }).await?;
    issuer.behave(Behaviour::NoKeys);
    let directory = tempfile::tempdir()?;
    std::fs::write(secret_file(&directory), SECRET)?;
    let config = config(&issuer, &directory, Introspected::Opaque);
    let bench = Bench::with(issuer, |auth| *auth = Auth { issuers: vec![config], ..Auth::default() })?;
    present(&bench.authenticator, &bench.token().opaque()).await?.principal()?;
    assert_eq!(bench.present(bench.token()).await?.status(), 401, "nobody can say who has signed it");
    assert!(bench.authenticator.loaded_once() && matches!(bench.authenticator.health(), Some(Ok(()))));
    Ok(())
}

#[tokio::test]
async fn without_introspection_a_token_that_says_nothing_is_invalid() -> Result<()> {
    let bench = Bench::start().await?;
    let token = bench.issuer.token().audience(AUDIENCE).claim("x", json!(1)).opaque();
    assert_eq!(present(&bench.authenticator, &token).await?.status(), 401);
    assert_eq!(bench.issuer.fetches().introspections, 0);
    Ok(())
}
