//! Streams through the ingress: not buffered, and not cut.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{Context, Done};
use crate::client::Version;
use crate::client::mcp::{Caller, read_to_result, result_of};

async fn serve(context: &Context) -> Result<()> {
    context.serve("streams", &format!("backend: {{builtin: {{}}}}\n{}", context.exposed_to_everybody()))?;
    context.served("streams").await.map(drop)
}

pub async fn events_arrive_while_the_call_runs(context: &Context) -> Result<Done> {
    serve(context).await?;
    events_arrive(context).await?;
    Ok(Done::Passed)
}

/// By either revision and version of HTTP.
pub(super) async fn events_arrive(context: &Context) -> Result<()> {
    for version in [Version::Http1, Version::Http2] {
        let caller = Caller::new(context.endpoint().over(version), "/mcp");
        modern_events(&caller).await.with_context(|| format!("2026-07-28 over {version:?}"))?;
        legacy_events(&caller).await.with_context(|| format!("2025-11-25 over {version:?}"))?;
    }
    Ok(())
}

/// Progress is sent every 400 ms for four seconds: what is buffered arrives all at once, at the end.
async fn modern_events(caller: &Caller) -> Result<()> {
    let params = json!({
        "name": "progress", "arguments": {"steps": 10, "delayMs": 400}, "_meta": {"progressToken": "t"},
    });
    let mut events = caller.modern_stream("tools/call", params).await?;
    spread_out(&mut events).await
}

async fn legacy_events(caller: &Caller) -> Result<()> {
    let session = caller.initialize().await?;
    let mut events = session.stream("progress", json!({"steps": 10, "delayMs": 400}), Some("t")).await?;
    spread_out(&mut events).await
}

async fn spread_out(events: &mut crate::client::Events) -> Result<()> {
    ensure!(events.status.is_success(), "{} {:?}", events.status, events.headers);
    let mut arrivals = Vec::new();
    let result = loop {
        let (at, message) = events.next(Duration::from_secs(30)).await?.context("the stream ended without a result")?;
        if message.get("id").is_some() {
            result_of(&message)?;
            break at;
        }
        arrivals.push(at);
    };
    ensure!(arrivals.len() >= 9, "{} progress notifications instead of 10", arrivals.len());
    let first = arrivals[0];
    let spread = result.saturating_duration_since(first);
    ensure!(spread >= Duration::from_secs(2), "the first event came only {spread:?} before the result: buffered");
    let gaps = arrivals.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(100)).count();
    ensure!(gaps >= 7, "only {gaps} of {} events came apart from the one before", arrivals.len());
    Ok(())
}

/// A minute is what most things on the way have as their default timeout.
pub async fn a_call_of_more_than_a_minute_survives(context: &Context) -> Result<Done> {
    serve(context).await?;
    let call = async |version| {
        let caller = Caller::new(context.endpoint().over(version), "/mcp");
        let session = caller.initialize().await?;
        let started = Instant::now();
        // No progress: for more than a minute the runtime's own keep-alive is all that moves.
        let mut events = session.stream("sleep", json!({"ms": 65_000}), None).await?;
        read_to_result(&mut events, Duration::from_secs(120)).await.with_context(|| format!("{version:?}"))?;
        ensure!(started.elapsed() >= Duration::from_secs(64), "the call took only {:?}", started.elapsed());
        Ok(())
    };
    let (first, second) = tokio::join!(call(Version::Http1), call(Version::Http2));
    first?;
    second?;
    Ok(Done::Passed)
}
