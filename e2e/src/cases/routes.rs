//! Ways from outside beside the one that all other cases take, the annotations of ingress-nginx.

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use serde_json::json;

use super::{Context, Done, streaming};

/// The Gateway of whoever runs the cluster, with the case's certificate.
fn gateway(host: &str) -> String {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "public"},
        "spec": {
            "gatewayClassName": "traefik",
            "listeners": [
                {"name": "http", "protocol": "HTTP", "port": 80, "hostname": host},
                {
                    "name": "https", "protocol": "HTTPS", "port": 443, "hostname": host,
                    "tls": {"mode": "Terminate", "certificateRefs": [{"name": "mcp-tls"}]},
                },
            ],
        },
    })
    .to_string()
}

fn spec(context: &Context, listener: &str) -> String {
    format!(
        "backend: {{builtin: {{}}}}\n\
         expose: {{hosts: [{}], tls: {{}}, gateway: {{parentRefs: [{{name: public, sectionName: {listener}}}]}}}}\n\
         auth: {{anonymous: Allow}}\n\
         rateLimits: {{perClient: {{requests: 0}}}}\n",
        context.host
    )
}

/// Traefik by its own annotations, which `Auto` finds out by the class.
pub async fn traefik_serves_an_ingress_of_its_class(context: &Context) -> Result<Done> {
    if context.kubectl(&["get", "ingressclass", "traefik"]).is_err() {
        return Ok(Done::Skipped("the cluster has no IngressClass traefik"));
    }
    let exposed = context.exposed_to_everybody();
    let exposed =
        exposed.replace("className: nginx", "className: traefik").replace("profile: ingress-nginx", "profile: traefik");
    context.serve("demo", &format!("backend: {{builtin: {{}}}}\n{exposed}"))?;
    context.served("demo").await?;
    context.condition("demo", "Exposed", |condition| condition.status == "True").await?;
    let annotations = ["get", "ingress", "demo", "-o", "jsonpath={.metadata.annotations}"];
    let annotations = context.kubectl(&annotations)?;
    ensure!(!annotations.contains("nginx"), "{annotations}");
    context.caller().list().await?.expect(StatusCode::OK)?;
    streaming::events_arrive(context).await?;
    Ok(Done::Passed)
}

pub async fn a_gateway_serves_a_server_and_says_why_it_does_not(context: &Context) -> Result<Done> {
    if context.kubectl(&["get", "gatewayclass", "traefik"]).is_err() {
        return Ok(Done::Skipped("the cluster has no GatewayClass traefik"));
    }
    context.apply(&gateway(&context.host))?;
    context.serve("demo", &spec(context, "no-such-listener"))?;
    let refused = context.condition("demo", "Exposed", |condition| condition.reason == "RouteRefused").await?;
    let exposed = super::context::condition_of(&refused, "Exposed").context("no condition Exposed")?;
    ensure!(exposed.message.contains("NoMatchingParent"), "{exposed:?}");

    context.serve("demo", &spec(context, "https"))?;
    context.condition("demo", "Exposed", |condition| condition.status == "True").await?;
    context.served("demo").await?;
    context.caller().list().await?.expect(StatusCode::OK)?;
    streaming::events_arrive(context).await?;
    Ok(Done::Passed)
}
