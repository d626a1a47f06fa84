//! The client-address limit, behind an ingress that all clients share.

use anyhow::{Result, ensure};
use http::StatusCode;

use super::{Context, Done};
use crate::client::mcp::Caller;

/// A limit that no test's duration refills.
const LIMIT: &str = "rateLimits: {perClient: {requests: 6, per: 1h, burst: 6}}\n";

async fn serve(context: &Context) -> Result<()> {
    let trusted = context.stage.cluster.ingress_networks()?.join(", ");
    let spec = format!(
        "backend: {{builtin: {{}}}}\n{LIMIT}auth: {{anonymous: Allow}}\n\
         expose: {{hosts: [{}], tls: {{secretName: mcp-tls}}, ingress: {}, trustedProxies: [{trusted}]}}\n",
        context.host,
        context.ingress()
    );
    context.serve("limited", &spec)?;
    context.served("limited").await.map(drop)
}

/// Calls until it is refused; how often it was served.
async fn exhaust(caller: &Caller) -> Result<u32> {
    for served in 0..40 {
        let answer = caller.list().await?;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            let wait: u64 = answer.header("retry-after").parse().unwrap_or(0);
            ensure!(wait > 0, "429 without Retry-After: {:?}", answer.headers);
            return Ok(served);
        }
        answer.expect(StatusCode::OK)?;
    }
    anyhow::bail!("40 calls were served: the limit of 6 is not enforced")
}

pub async fn a_caller_above_its_rate_gets_429(context: &Context) -> Result<Done> {
    serve(context).await?;
    let served = exhaust(&context.caller()).await?;
    ensure!((1..=6).contains(&served), "{served} calls were served");
    // Liveness of the whole route must not depend on one client's appetite.
    context.endpoint().get("/health").await?.expect(StatusCode::OK)?;
    Ok(Done::Passed)
}

pub async fn clients_behind_the_ingress_have_their_own_buckets(context: &Context) -> Result<Done> {
    let addresses = context.stage.cluster.client_addresses();
    let [first, second, ..] = addresses.as_slice() else {
        return Ok(Done::Skipped("this machine is one client only: the cluster gives it one address"));
    };
    serve(context).await?;
    let from = |address: &std::net::Ipv4Addr| Caller::new(context.endpoint().from((*address).into()), "/mcp");
    let served = exhaust(&from(first)).await?;
    ensure!((1..=6).contains(&served), "{served} calls were served to the first client");
    from(second).list().await?.expect(StatusCode::OK)?;
    ensure!(
        from(first).list().await?.status == StatusCode::TOO_MANY_REQUESTS,
        "the first client's bucket was refilled"
    );
    Ok(Done::Passed)
}
