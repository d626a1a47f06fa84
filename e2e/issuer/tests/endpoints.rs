//! The issuer's endpoints, asked over sockets by a client that knows nothing of its code.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e_issuer::{Behaviour, Client, Issuer, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn ask(issuer: &Issuer, request: &str, body: &str) -> Result<(u16, Value)> {
    let mut stream = TcpStream::connect(issuer.address()).await?;
    let length = body.len();
    let text = format!("{request}\r\nHost: issuer\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split(' ').nth(1).context("an answer has a status")?.parse()?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

fn claims(token: &str) -> Result<Value> {
    let payload = token.split('.').nth(1).context("a token has a payload")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?)
}

async fn issuer(path: &str) -> Result<Issuer> {
    let clients = vec!["demo:s3cret:user,read".parse::<Client>()?];
    Issuer::start(Options { clients, path: path.to_owned(), ..Options::default() }).await
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

#[tokio::test]
async fn metadata_is_found_in_every_form_that_clients_try() -> Result<()> {
    let plain = issuer("").await?;
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let (status, document) = ask(&plain, &format!("GET {path} HTTP/1.1"), "").await?;
        assert_eq!(status, 200, "{path}");
        assert_eq!(document["issuer"], plain.url());
        assert_eq!(document["jwks_uri"], format!("{}/jwks", plain.url()));
    }

    let tenant = issuer("/tenant").await?;
    for path in [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration",
    ] {
        let (status, document) = ask(&tenant, &format!("GET {path} HTTP/1.1"), "").await?;
        assert_eq!(status, 200, "{path}");
        assert_eq!(document["issuer"], tenant.url());
    }
    assert_eq!(tenant.fetches().metadata, 3);
    Ok(())
}

#[tokio::test]
async fn a_client_gets_a_token_for_a_resource_by_basic_and_by_form() -> Result<()> {
    let issuer = issuer("").await?;
    let resource = "resource=https%3A%2F%2Fmcp.example.com%2Fmcp";
    let basic = format!("POST /token HTTP/1.1\r\n{FORM}\r\nAuthorization: Basic {}", STANDARD.encode("demo:s3cret"));
    let (status, answer) = ask(&issuer, &basic, &format!("grant_type=client_credentials&{resource}")).await?;
    assert_eq!(status, 200);
    assert_eq!(answer["token_type"], "Bearer");
    let token = claims(answer["access_token"].as_str().context("a token")?)?;
    assert_eq!(token["iss"], issuer.url());
    assert_eq!(token["aud"], "https://mcp.example.com/mcp");
    assert_eq!(token["sub"], "demo");
    assert_eq!(token["scope"], "user read");

    let body = format!("grant_type=client_credentials&client_id=demo&client_secret=s3cret&scope=read&{resource}");
    let (status, answer) = ask(&issuer, &format!("POST /token HTTP/1.1\r\n{FORM}"), &body).await?;
    assert_eq!((status, &answer["scope"]), (200, &json!("read")));
    Ok(())
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_scope_and_another_grant_are_refused() -> Result<()> {
    let issuer = issuer("").await?;
    let request = format!("POST /token HTTP/1.1\r\n{FORM}");
    for (body, status, error) in [
        ("grant_type=client_credentials&client_id=demo&client_secret=wrong", 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=demo&client_secret=s3cret&scope=admin", 400, "invalid_scope"),
        ("grant_type=password&client_id=demo&client_secret=s3cret", 400, "unsupported_grant_type"),
    ] {
        assert_eq!(ask(&issuer, &request, body).await?, (status, json!({ "error": error })));
    }
    Ok(())
}

#[tokio::test]
async fn rotation_publishes_the_new_keys_beside_the_old_ones() -> Result<()> {
    let issuer = issuer("").await?;
    let count = async || -> Result<usize> {
        let (_, set) = ask(&issuer, "GET /jwks HTTP/1.1", "").await?;
        Ok(set["keys"].as_array().map_or(0, Vec::len))
    };
    assert_eq!(count().await?, 3);
    let (status, _) = ask(&issuer, "POST /admin/rotate HTTP/1.1", "").await?;
    assert_eq!((status, count().await?), (204, 6));
    issuer.retire_old_keys();
    assert_eq!(count().await?, 3);
    Ok(())
}

#[tokio::test]
async fn a_failure_on_purpose_is_seen_and_counted() -> Result<()> {
    let issuer = issuer("").await?;
    issuer.behave(Behaviour::Status(503));
    assert_eq!(ask(&issuer, "GET /jwks HTTP/1.1", "").await?.0, 503);
    issuer.behave(Behaviour::Healthy);
    assert_eq!(ask(&issuer, "GET /jwks HTTP/1.1", "").await?.0, 200);
    assert_eq!(issuer.fetches().keys, 2);
    Ok(())
}
