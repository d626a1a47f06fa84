//! What a user sees of the production server, through a client that we did not write.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::narrator::Narrator;
use super::{Demo, HOST, ISSUER_HOST, NAMESPACE, seconds};
use crate::client::Sdk;
use crate::client::token::Credentials;
use crate::product::fixtures;

/// From the bare URL to a streamed call. Returns how long after `started` the first tool answered.
pub async fn find_the_way(narrator: &Narrator, demo: &Demo, started: Instant) -> Result<Duration> {
    narrator.command(&format!("node e2e/client/src/main.js probe --url https://{HOST}/mcp"));
    let events = client(demo).run(&["probe"]).await?;
    let answer = event(&events, "answer")?;
    ensure!(answer["status"] == 401, "an anonymous call got {answer}");
    narrator.success(&format!("anonymous: 401, resource_metadata={}", answer["resourceMetadataUrl"]));
    let metadata = event(&events, "metadata")?;
    ensure!(metadata["status"] == 200, "the metadata's URL answered {metadata}");
    narrator.success(&format!("its URL answers through the same ingress: {}", metadata["document"]));

    let known = with_credentials(demo);
    narrator.command("… tools --client-id demo-client --client-secret demo-secret --scope 'user read'");
    let events = known.run(&["tools"]).await?;
    let connected = event(&events, "connected")?;
    narrator.success(&format!(
        "with a token, by MCP {}: {}",
        connected["protocolVersion"],
        event(&events, "tools")?["names"]
    ));

    narrator.command(r#"… call add '{"a": 20, "b": 22}'"#);
    let events = known.run(&["call", "add", r#"{"a": 20, "b": 22}"#]).await?;
    let called = started.elapsed();
    narrator.success(&format!("answer {}", event(&events, "result")?["text"]));

    narrator.command(r#"… call progress '{"steps": 4, "delayMs": 500}'"#);
    let events = known.run(&["call", "progress", r#"{"steps": 4, "delayMs": 500}"#]).await?;
    let arrivals: Vec<u64> =
        events.iter().filter(|event| event["event"] == "progress").filter_map(|event| event["ms"].as_u64()).collect();
    event(&events, "result")?;
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else { bail!("no progress came: {events:?}") };
    ensure!(last - first >= 500, "all progress came at once: something on the way buffers ({arrivals:?})");
    let times: Vec<_> = arrivals.iter().map(|at| format!("+{:.1} s", (at - first) as f32 / 1000.0)).collect();
    narrator.success(&format!("progress streams, event by event: {}", times.join(", ")));
    Ok(called)
}

/// A session of the 2025 revisions goes on while one of the three pods is deleted.
pub async fn lose_a_pod(narrator: &Narrator, demo: &Demo) -> Result<()> {
    let mut session = with_credentials(demo).era("legacy").session().await?;
    session.call("add", &json!({"a": 1, "b": 1})).await?;
    narrator.success("session begun (MCP 2025-11-25), first call answered");

    let pods = Api::<Pod>::namespaced(demo.cluster.client().await?, NAMESPACE);
    let selector = ListParams::default().labels("app.kubernetes.io/instance=production");
    let pod = pods.list(&selector).await?.items.into_iter().find_map(|pod| pod.metadata.name).context("no pod")?;
    narrator.command(&format!("kubectl -n {NAMESPACE} delete pod {pod}"));
    let before = Instant::now();
    pods.delete(&pod, &kube::api::DeleteParams::default()).await?;
    let mut calls = 0;
    // Until the pod is gone, and once more: while it drains and after.
    loop {
        let gone = pods.get_opt(&pod).await?.is_none();
        let result = session.call("add", &json!({"a": calls, "b": 1})).await?;
        ensure!(result["isError"] == false, "a call in the session failed: {result}");
        calls += 1;
        if gone {
            break;
        }
        ensure!(before.elapsed() < Duration::from_secs(90), "pod {pod} does not end");
        // The example allows 100 requests a minute.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let took = seconds(before.elapsed());
    narrator.success(&format!("the session went on: {calls} more calls answered until the pod was gone ({took})"));
    Ok(())
}

fn client(demo: &Demo) -> Sdk {
    Sdk::new(&format!("https://{HOST}/mcp"), demo.ingress, &[ISSUER_HOST], &demo.folder.join("ca.crt"))
}

fn with_credentials(demo: &Demo) -> Sdk {
    let who = Credentials { id: fixtures::CLIENT_ID.to_owned(), secret: fixtures::CLIENT_SECRET.to_owned() };
    client(demo).credentials(&who, "user read", &format!("https://{ISSUER_HOST}"))
}

fn event<'a>(events: &'a [Value], name: &str) -> Result<&'a Value> {
    events.iter().find(|event| event["event"] == name).with_context(|| format!("no event {name} in {events:?}"))
}
