//! `/health` tells of shared dependencies; readiness does not, or one redis would take every pod out of service.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use serde_json::Value;

use super::sessions::{REDIS, is_ready};
use super::{Context, Done};

pub async fn health_follows_redis_and_readiness_does_not(context: &Context) -> Result<Done> {
    context.redis()?;
    let spec = format!("backend: {{builtin: {{}}}}\n{REDIS}{}", context.exposed_to_everybody());
    context.serve("patient", &spec)?;
    context.served("patient").await?;
    let before = health(context, StatusCode::OK).await?;
    ensure!(before["status"] == "healthy" && before["checks"]["redis"] == "ok", "{before}");

    let watched = AtomicBool::new(true);
    let story = async {
        context.kubectl(&["scale", "deployment/redis", "--replicas=0"])?;
        let without = health(context, StatusCode::SERVICE_UNAVAILABLE).await?;
        ensure!(without["status"] == "unhealthy" && without["checks"]["redis"] != "ok", "{without}");
        ensure!(!without.to_string().contains("redis://"), "the answer shows an address: {without}");
        // What needs no session is served meanwhile.
        context.caller().list().await?.expect(StatusCode::OK).context("tools/list without redis")?;
        context.kubectl(&["scale", "deployment/redis", "--replicas=1"])?;
        health(context, StatusCode::OK).await?;
        watched.store(false, Ordering::Relaxed);
        Ok(())
    };
    let readiness = async {
        while watched.load(Ordering::Relaxed) {
            let pods = context.pods("patient").await?;
            ensure!(pods.iter().any(is_ready), "the pod lost its readiness");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Ok(())
    };
    tokio::try_join!(story, readiness)?;
    let restarts = context.kubectl(&[
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=mcp-server",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[*].restartCount}",
    ])?;
    ensure!(restarts == "0", "restarts: {restarts}");
    Ok(Done::Passed)
}

async fn health(context: &Context, wanted: StatusCode) -> Result<Value> {
    let answer = context.eventually("/health has the wanted status", async || {
        let answer = context.endpoint().get("/health").await?;
        Ok((answer.status == wanted).then_some(answer))
    });
    answer.await.with_context(|| format!("/health should turn {wanted}"))?.json()
}
