//! What the authentication tests share: a clock that they turn, and an authenticator beside a real issuer.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use axum::response::{IntoResponse as _, Response};
use e2e_issuer::{Issuer, Options, TokenBuilder};
use http::Request;
use http_body_util::BodyExt as _;
use mcp_server::auth::{Authenticator, Caller, Clock, Principal, Setup};
use mcp_server::metrics::AuthResult;
use mcp_server_config::{Auth, Http, PublicUrl};
use tokio::sync::watch;

pub const ORIGIN: &str = "https://mcp.example.com";
pub const INSIDE: &str = "http://weather.demo.svc";
pub const AUDIENCE: &str = "https://mcp.example.com/mcp";
pub const PATH: &str = "/mcp";

/// Stands still until it is turned. It begins at the machine's time, because the issuer's tokens do.
#[derive(Debug)]
pub struct TurnedClock {
    start: u64,
    passed: watch::Sender<Duration>,
}

impl TurnedClock {
    pub fn new() -> Arc<Self> {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        Arc::new(Self { start, passed: watch::Sender::new(Duration::ZERO) })
    }

    pub fn turn(&self, seconds: u64) {
        self.passed.send_modify(|passed| *passed += Duration::from_secs(seconds));
    }
}

impl Clock for TurnedClock {
    fn unix(&self) -> u64 {
        self.start + self.passed.borrow().as_secs()
    }

    fn monotonic(&self) -> Duration {
        *self.passed.borrow()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut passed = self.passed.subscribe();
        let until = *passed.borrow() + duration;
        Box::pin(async move {
            let _ = passed.wait_for(|passed| *passed >= until).await;
        })
    }
}

/// An authenticator beside its issuer.
pub struct Bench {
    pub issuer: Issuer,
    pub clock: Arc<TurnedClock>,
    pub authenticator: Authenticator,
}

impl Bench {
    /// One issuer, no required scope.
    pub async fn start() -> Result<Self> {
        Self::with(Issuer::start(Options::default()).await?, |_| {})
    }

    /// One issuer; `change` has the section before it is used.
    pub fn with(issuer: Issuer, change: impl FnOnce(&mut Auth)) -> Result<Self> {
        let mut auth = Auth { issuer_url: Some(issuer.url().to_owned()), ..Auth::default() };
        change(&mut auth);
        let clock = TurnedClock::new();
        let authenticator = authenticator(&auth, None, clock.clone())?;
        Ok(Self { issuer, clock, authenticator })
    }

    /// A token that is good here.
    pub fn token(&self) -> TokenBuilder<'_> {
        self.issuer.token().audience(AUDIENCE)
    }

    /// Presents a token.
    pub async fn present(&self, token: TokenBuilder<'_>) -> Result<Answer> {
        present(&self.authenticator, &token.mint()?).await
    }

    /// Turns the clock by the longest pause between two attempts, again and again, until `what` holds. Between two turns
    /// a fetch has time to end before its deadline.
    pub async fn turn_until(&self, what: impl Fn(&Self) -> bool) -> Result<()> {
        for _ in 0..200 {
            self.clock.turn(30);
            for _ in 0..100 {
                if what(self) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        anyhow::bail!("it never happened")
    }
}

/// An authenticator for those public URLs.
pub fn authenticator(auth: &Auth, previous: Option<&Authenticator>, clock: Arc<TurnedClock>) -> Result<Authenticator> {
    let public_urls = [ORIGIN, INSIDE].map(origin).into();
    let http = Http { public_urls, ..Http::default() };
    let setup = Setup { auth: Some(auth), http: &http, path: PATH, previous };
    Ok(Authenticator::with_clock(&setup, clock)?)
}

pub fn origin(url: &str) -> PublicUrl {
    PublicUrl::try_from(url.to_owned()).expect("an origin")
}

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    Served(Option<Arc<Principal>>),
    Refused(Refused),
}

#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    pub result: AuthResult,
    pub challenge: Option<String>,
    pub retry_after: Option<String>,
    pub body: serde_json::Value,
}

impl Answer {
    pub fn principal(self) -> Result<Arc<Principal>> {
        match self {
            Self::Served(Some(principal)) => Ok(principal),
            other => anyhow::bail!("no principal: {other:?}"),
        }
    }

    pub fn refused(self) -> Result<Refused> {
        match self {
            Self::Refused(refused) => Ok(refused),
            Self::Served(_) => anyhow::bail!("it was served"),
        }
    }

    /// `200` for a served request.
    pub fn status(&self) -> u16 {
        match self {
            Self::Served(_) => 200,
            Self::Refused(refused) => refused.status,
        }
    }
}

/// Presents a token at the first public URL.
pub async fn present(authenticator: &Authenticator, token: &str) -> Result<Answer> {
    send(authenticator, ORIGIN, Request::post("/mcp").header("Authorization", format!("Bearer {token}"))).await
}

/// Sends a request at an origin.
pub async fn send(authenticator: &Authenticator, asked: &str, request: http::request::Builder) -> Result<Answer> {
    let (parts, ()) = request.body(())?.into_parts();
    match authenticator.authenticate(&parts, &origin(asked)).await {
        Ok(Caller::Anonymous) => Ok(Answer::Served(None)),
        Ok(Caller::Principal(principal)) => Ok(Answer::Served(Some(principal))),
        Err(rejection) => {
            let result = rejection.result();
            refused(result, rejection.into_response()).await.map(Answer::Refused)
        }
    }
}

async fn refused(result: AuthResult, response: Response) -> Result<Refused> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, challenge, retry_after) =
        (response.status().as_u16(), header("www-authenticate"), header("retry-after"));
    let body = response.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&body).context("a refusal has a JSON body")?;
    Ok(Refused { status, result, challenge, retry_after, body })
}
