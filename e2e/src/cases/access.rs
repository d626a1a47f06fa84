//! Who gets in: found by an official client from the URL alone, refused as the specifications say, and refused at once
//! when the rules change.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use super::context::condition_of;
use super::stage::{self, ISSUER, ISSUER_HOST};
use super::{Context, Done};
use crate::client::Sdk;
use crate::client::sdk;

pub async fn an_official_client_finds_its_way_from_the_url_alone(context: &Context) -> Result<Done> {
    sdk::install().await?;
    let spec = format!("backend: {{builtin: {{}}}}\n{}", context.exposed_with_auth("user, read"));
    context.serve("open", &spec)?;
    context.served("open").await?;

    let url = context.url();
    // Two hosts, two authorities: the client trusts both.
    let authorities = stage::work_folder().join("sdk-authorities.crt");
    let pem = [&context.authority, &stage::work_folder().join("issuer-ca.crt")].map(std::fs::read_to_string);
    let [own, issuer] = pem;
    std::fs::write(&authorities, own? + &issuer?)?;
    let anonymous = Sdk::new(&url, context.stage.ingress, &[ISSUER_HOST], &authorities);

    let events = anonymous.run(&["probe"]).await?;
    let answer = event(&events, "answer")?;
    ensure!(answer["status"] == 401, "{answer}");
    let metadata = event(&events, "metadata")?;
    ensure!(metadata["status"] == 200, "{metadata}");
    ensure!(metadata["document"]["resource"] == url.as_str(), "{metadata}");
    ensure!(metadata["document"]["authorization_servers"] == json!([ISSUER]), "{metadata}");

    let known = anonymous.credentials(&stage::credentials(), "user read", ISSUER);
    for (era, version) in [("modern", "2026-07-28"), ("legacy", "2025-11-25")] {
        let client = known.clone().era(era);
        let events = client.run(&["tools"]).await.with_context(|| format!("list the tools by the {era} revisions"))?;
        ensure!(event(&events, "connected")?["protocolVersion"] == version, "{events:?}");
        let names = &event(&events, "tools")?["names"];
        ensure!(names.as_array().is_some_and(|names| names.contains(&json!("echo"))), "{names}");
        let events = client.run(&["call", "add", r#"{"a": 2, "b": 40}"#]).await?;
        let result = event(&events, "result")?;
        ensure!(result.to_string().contains("42") && result["isError"] == false, "{result}");
    }
    Ok(Done::Passed)
}

fn event<'a>(events: &'a [Value], name: &str) -> Result<&'a Value> {
    events.iter().find(|event| event["event"] == name).with_context(|| format!("no event {name} in {events:?}"))
}

pub async fn wrong_callers_are_refused_with_401_and_403(context: &Context) -> Result<Done> {
    let spec = format!("backend: {{builtin: {{}}}}\n{}", context.exposed_with_auth("user, read"));
    context.serve("guarded", &spec)?;
    context.served("guarded").await?;

    let anonymous = context.caller().list().await?.expect(StatusCode::UNAUTHORIZED)?;
    let challenge = anonymous.header("www-authenticate").to_owned();
    let metadata = format!("https://{}/.well-known/oauth-protected-resource/mcp", context.host);
    ensure!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
    // RFC 6750, section 3.1: who brought no token is told no error.
    ensure!(!challenge.contains("error="), "{challenge}");
    let document = context.endpoint().get("/.well-known/oauth-protected-resource/mcp").await?;
    ensure!(document.expect(StatusCode::OK)?.json()?["resource"] == context.url().as_str());

    let forged = context.caller().with_token("eyJhbGciOiJub25lIn0.e30.").list().await?;
    let forged = forged.expect(StatusCode::UNAUTHORIZED)?;
    ensure!(forged.header("www-authenticate").contains("error=\"invalid_token\""), "{:?}", forged.headers);

    let elsewhere = context.stage.token("user read", "https://other.example.com/mcp").await?;
    context
        .caller()
        .with_token(&elsewhere)
        .list()
        .await?
        .expect(StatusCode::UNAUTHORIZED)
        .context("foreign audience")?;

    let narrow = context.caller_with("user").await?.list().await?.expect(StatusCode::FORBIDDEN)?;
    let challenge = narrow.header("www-authenticate").to_owned();
    ensure!(challenge.contains("error=\"insufficient_scope\"") && challenge.contains("read"), "{challenge}");

    context.caller_with("user read").await?.list().await?.expect(StatusCode::OK)?;
    Ok(Done::Passed)
}

pub async fn a_changed_scope_is_enforced_before_verified_returns(context: &Context) -> Result<Done> {
    let spec = format!("replicas: 2\nbackend: {{builtin: {{}}}}\n{}", context.exposed_with_auth("user"));
    context.serve("guarded", &spec)?;
    context.served("guarded").await?;
    let caller = context.caller_with("user").await?;
    caller.list().await?.expect(StatusCode::OK)?;
    let pods = context.pod_uids("guarded").await?;

    context.patch("guarded", &json!({"spec": {"auth": {"requiredScopes": ["user", "admin"]}}}))?;
    // The API server is asked without a pause: the first `Verified` of the new generation is the promise.
    loop {
        let server = context.server("guarded").await?;
        if condition_of(&server, "Verified").is_some_and(|condition| condition.status == "True") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Both pods must keep the promise; the ingress takes turns.
    for attempt in 0..6 {
        let answer = caller.list().await?;
        if answer.status != StatusCode::FORBIDDEN {
            bail!("call {attempt} after Verified got {}: the old scopes are still enforced", answer.status);
        }
    }
    ensure!(context.pod_uids("guarded").await? == pods, "a changed scope rolled the pods");
    context.caller_with("user admin").await?.list().await?.expect(StatusCode::OK)?;
    Ok(Done::Passed)
}
