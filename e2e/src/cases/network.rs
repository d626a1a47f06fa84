//! What the NetworkPolicies of the product let through, on a network that enforces them.

use anyhow::{Context as _, Result};
use http::StatusCode;
use serde_json::json;
use tokio::task::block_in_place;

use super::sessions::REDIS;
use super::{Context, Done};
use crate::product::fixtures;

/// A namespace in which the product has nothing.
const ELSEWHERE: &str = "e2e-network-elsewhere";
/// The runtime's ports inside of the pod.
const MCP: u16 = 8000;
const MANAGEMENT: u16 = 9090;

pub async fn policies_let_through_what_is_documented_and_nothing_else(context: &Context) -> Result<Done> {
    match context.stage.cluster.enforces_network_policies() {
        Some(true) => {}
        Some(false) => return Ok(Done::Skipped("NetworkPolicies have no effect on this machine's kernel")),
        None => return Ok(Done::Skipped("nobody knows whether this cluster enforces NetworkPolicies")),
    }
    block_in_place(|| fixtures::namespace(&context.stage.cluster, ELSEWHERE))?;
    let image = context.stage.everything().await?;
    let stranger = Prober::start(context, ELSEWHERE, "stranger", image)?;
    let neighbour = Prober::start(context, &context.namespace, "neighbour", image)?;
    let friend = Prober::start(context, &context.namespace, "friend", image)?;
    context.redis()?;
    // Besides, that it becomes ready: the operator reaches its pods, and these redis, DNS and an issuer behind a Service
    // whose pods listen at another port.
    context.serve("demo", &format!("backend: {{builtin: {{}}}}\n{REDIS}{}", context.exposed_with_auth("user")))?;
    context.ready("demo").await?;
    context.eventually("redis and the issuer are reached", async || Ok(healthy(context).await?.then_some(()))).await?;
    let pod = context.pods("demo").await?[0].status.as_ref().and_then(|status| status.pod_ip.clone());
    let pod = pod.context("a pod has an address")?;

    for prober in [&stranger, &neighbour] {
        prober.reaches(context, &pod, MCP).await?;
        prober.is_kept_from(context, &pod, MANAGEMENT).await?;
    }

    // Who may come is named: nobody else does, and the operator is not locked out.
    let friends = json!([{"podSelector": {"matchLabels": {"app": "friend"}}}]);
    context.patch("demo", &json!({"spec": {"networkPolicy": {"ingressFrom": friends}}}))?;
    context.condition("demo", "Programmed", |condition| condition.status == "True").await?;
    friend.reaches(context, &pod, MCP).await?;
    neighbour.is_kept_from(context, &pod, MCP).await?;
    stranger.is_kept_from(context, &pod, MCP).await?;
    context.patch("demo", &json!({"spec": {"replicas": 2}}))?;
    context.condition("demo", "Verified", |condition| condition.reason == "Verified").await?;
    context.ready("demo").await?;

    // Where the pods may go is named, and redis is not.
    let elsewhere = json!([{"ports": [{"protocol": "TCP", "port": 443}]}]);
    context.patch("demo", &json!({"spec": {"networkPolicy": {"egressTo": elsewhere}}}))?;
    restart_redis(context)?;
    context.eventually("redis is not reached", async || Ok((!healthy(context).await?).then_some(()))).await?;
    context.patch("demo", &json!({"spec": {"networkPolicy": {"egressTo": null}}}))?;
    context.eventually("redis is reached again", async || Ok(healthy(context).await?.then_some(()))).await?;

    let gone = ["delete", "namespace", ELSEWHERE, "--wait=false"];
    block_in_place(|| context.stage.cluster.kubectl(&gone))?;
    Ok(Done::Passed)
}

/// Policies are asked at a connection's begin: those that are open stay.
fn restart_redis(context: &Context) -> Result<()> {
    context.kubectl(&["delete", "pods", "-l", "app=redis", "--wait=true", "--timeout=60s"])?;
    block_in_place(|| fixtures::wait_for(&context.stage.cluster, &context.namespace, "redis"))
}

/// By the word of the pods about what they reach.
async fn healthy(context: &Context) -> Result<bool> {
    let answer = context.endpoint().get("/health").await;
    Ok(answer.is_ok_and(|answer| answer.status == StatusCode::OK))
}

/// A pod from which connections are made.
struct Prober {
    namespace: String,
    name: &'static str,
}

impl Prober {
    fn start(context: &Context, namespace: &str, name: &'static str, image: &str) -> Result<Self> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "node", "image": image, "imagePullPolicy": "IfNotPresent",
                    "args": ["-e", "setInterval(() => {}, 1000)"],
                    "command": ["node"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        });
        block_in_place(|| {
            let cluster = &context.stage.cluster;
            fixtures::apply_in(cluster, namespace, &pod.to_string())?;
            cluster.kubectl(&["wait", "pod", name, "--namespace", namespace, "--for=condition=Ready", "--timeout=90s"])
        })?;
        Ok(Self { namespace: namespace.to_owned(), name })
    }

    async fn reaches(&self, context: &Context, address: &str, port: u16) -> Result<()> {
        let what = format!("{} reaches {address}:{port}", self.name);
        context.eventually(&what, async || Ok((self.connect(context, address, port)? == "open").then_some(()))).await
    }

    async fn is_kept_from(&self, context: &Context, address: &str, port: u16) -> Result<()> {
        let what = format!("{} is kept from {address}:{port}", self.name);
        context.eventually(&what, async || Ok((self.connect(context, address, port)? != "open").then_some(()))).await
    }

    /// `open`, or why not.
    fn connect(&self, context: &Context, address: &str, port: u16) -> Result<String> {
        let script = format!(
            "const s = require('net').connect({{host: '{address}', port: {port}, timeout: 2000}});\
             const end = (w) => {{ console.log(w); process.exit(0) }};\
             s.on('connect', () => end('open')); s.on('timeout', () => end('timeout')); s.on('error', (e) => end(e.code));"
        );
        let exec = ["exec", self.name, "--namespace", &self.namespace, "--", "node", "-e", &script];
        Ok(block_in_place(|| context.stage.cluster.kubectl(&exec))?.trim().to_owned())
    }
}
