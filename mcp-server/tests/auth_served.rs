//! Authentication as a client sees it: the whole runtime on sockets, beside a real issuer.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use e2e_issuer::{Behaviour, Issuer, Options};
use mcp_server::app::App;
use mcp_server::serve::Server;
use mcp_server::settings::{Loaded, LoadedLive};
use mcp_server_config::{Auth, Config, Http, Live, PublicUrl};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

struct Runtime {
    mcp: SocketAddr,
    management: SocketAddr,
    _signals: mpsc::Sender<()>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &&str| line.split_once(':').is_some_and(|(own, _)| own.eq_ignore_ascii_case(name));
        Some(self.head.lines().find(line)?.split_once(": ")?.1)
    }
}

impl Runtime {
    async fn start(issuer: &Issuer) -> Result<Self> {
        // Two listeners in one process need two free ports: none is fixed.
        let mut config = Config::default();
        (config.server.port, config.metrics.port) = (Some(0), 0);
        let auth = Auth {
            issuer_url: Some(issuer.url().to_owned()),
            required_scopes: vec!["user".to_owned()],
            ..Auth::default()
        };
        let public_urls = vec![PublicUrl::try_from("https://mcp.example.com".to_owned()).map_err(anyhow::Error::msg)?];
        let http = Http { public_urls, ..Http::default() };
        let live = Live { auth: Some(auth), http, ..Live::default() };
        let loaded = Loaded { config, live: LoadedLive { live, digest: String::new() }, warnings: Vec::new() };
        let server = Server::bind(App::start(loaded).await?).await?;
        let (mcp, management) = (server.mcp_address()?, server.management_address()?);
        let (signals, receiver) = mpsc::channel(1);
        tokio::spawn(server.run(receiver));
        Ok(Self { mcp, management, _signals: signals })
    }

    async fn ask(&self, request: &str, token: Option<&str>) -> Result<Answer> {
        let token = token.map_or_else(String::new, |token| format!("\r\nAuthorization: Bearer {token}"));
        ask(self.mcp, &format!("{request} HTTP/1.1\r\nHost: mcp.example.com{token}")).await
    }

    /// The attempts with that result.
    async fn metric(&self, result: &str) -> Result<f64> {
        let series = format!("mcp_auth_attempts_total{{endpoint=\"mcp-server\",result=\"{result}\"}}");
        Ok(self.series(&series).await?.unwrap_or_default())
    }

    async fn series(&self, series: &str) -> Result<Option<f64>> {
        let answer = ask(self.management, "GET /metrics HTTP/1.1\r\nHost: localhost").await?;
        let value = answer.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map(str::parse).transpose()?)
    }

    async fn until_ready(&self) -> Result<()> {
        while ask(self.management, "GET /readyz HTTP/1.1\r\nHost: localhost").await?.status != 200 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

async fn ask(address: SocketAddr, head: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split(' ').nth(1).context("an answer has a status")?.parse()?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

#[tokio::test]
async fn the_challenge_leads_to_metadata_that_leads_to_the_issuer() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    let runtime = Runtime::start(&issuer).await?;
    for request in ["POST /mcp", "GET /mcp", "DELETE /mcp", "POST /mcp/"] {
        let refused = runtime.ask(request, None).await?;
        assert_eq!(refused.status, 401, "{request}");
        let challenge = refused.header("www-authenticate").unwrap_or_default();
        let metadata = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
        assert_eq!(challenge, format!("Bearer resource_metadata=\"{metadata}\", scope=\"user\""), "{request}");
    }
    for path in ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"] {
        let answer = runtime.ask(&format!("GET {path}"), None).await?;
        let document: Value = serde_json::from_str(&answer.body)?;
        assert_eq!(answer.status, 200);
        assert_eq!(document["resource"], "https://mcp.example.com/mcp");
        assert_eq!(document["authorization_servers"][0], issuer.url());
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(runtime.metric("missing").await?, 4.0);
    Ok(())
}

#[tokio::test]
async fn good_bad_expired_and_poor_tokens_are_told_apart_and_counted() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    let runtime = Runtime::start(&issuer).await?;
    let token = || issuer.token().audience("https://mcp.example.com/mcp").scopes("user");
    for (request, token, status, result) in [
        ("POST /mcp", token().claim("iss", "https://evil.example.com"), Some(401), "invalid"),
        ("POST /mcp", token().expires_in(-600), Some(401), "expired"),
        ("GET /mcp", token().scopes("other"), Some(403), "insufficient_scope"),
        ("POST /mcp", token(), None, "success"),
    ] {
        let answer = runtime.ask(request, Some(&token.mint()?)).await?;
        match status {
            Some(status) => assert_eq!(answer.status, status, "{result}"),
            // An empty body is no MCP: what matters is that the caller got past the door.
            None => assert!(![401, 403, 503].contains(&answer.status), "{result}: {}", answer.status),
        }
        assert_eq!(runtime.metric(result).await?, 1.0, "{result}");
    }
    assert_eq!(runtime.ask("POST /mcp?access_token=x", Some(&token().mint()?)).await?.status, 400);
    Ok(())
}

#[tokio::test]
async fn an_unreachable_issuer_keeps_the_server_unready_until_it_comes() -> Result<()> {
    let issuer = Issuer::start(Options::default()).await?;
    issuer.behave(Behaviour::Status(500));
    let runtime = Runtime::start(&issuer).await?;
    let token = issuer.token().audience("https://mcp.example.com/mcp").scopes("user").mint()?;
    let refused = runtime.ask("POST /mcp", Some(&token)).await?;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(runtime.metric("unavailable").await?, 1.0);

    let health = ask(runtime.mcp, "GET /health HTTP/1.1\r\nHost: 10.0.0.1").await?;
    let report: Value = serde_json::from_str(&health.body)?;
    assert_eq!(health.status, 503);
    assert_eq!(report["checks"]["auth_server"], "error: the authorization server answered with status 500");
    assert_eq!(ask(runtime.management, "GET /readyz HTTP/1.1\r\nHost: localhost").await?.status, 503);
    assert_eq!(ask(runtime.management, "GET /livez HTTP/1.1\r\nHost: localhost").await?.status, 200);

    let failed = format!("mcp_issuer_fetches_total{{issuer=\"{}\",result=\"error\"}}", issuer.url());
    let age = format!("mcp_issuer_keys_age_seconds{{issuer=\"{}\"}}", issuer.url());
    assert!(runtime.series(&failed).await?.is_some_and(|count| count >= 1.0));
    assert_eq!(runtime.series(&age).await?, None);

    issuer.behave(Behaviour::Healthy);
    runtime.until_ready().await?;
    assert!(runtime.series(&age).await?.is_some_and(|age| age >= 0.0));
    assert!(![401, 403, 503].contains(&runtime.ask("POST /mcp", Some(&token)).await?.status));

    // Once ready, it stays so whatever the issuer does.
    issuer.behave(Behaviour::Status(500));
    runtime.until_ready().await?;
    Ok(())
}
