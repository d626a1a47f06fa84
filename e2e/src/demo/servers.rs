//! The two servers of the demo: the examples as they are in the repository.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use mcp_crds::McpServer;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::narrator::Narrator;
use super::{Demo, HOST, NAMESPACE, seconds};
use crate::client::http::{self, Endpoint, Version};
use crate::product::{fixtures, repository};

/// Reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long each server took from `kubectl apply` to `Ready`; `None` if it was Ready before.
pub struct Ready {
    /// `examples/quickstart.yaml`.
    pub quickstart: Option<Duration>,
    /// `examples/production.yaml`.
    pub production: Option<Duration>,
}

/// Applies both examples and waits until they are Ready.
pub async fn apply(narrator: &Narrator, demo: &Demo) -> Result<Ready> {
    let api = Api::<McpServer>::namespaced(demo.cluster.client().await?, NAMESPACE);
    let quickstart = one(narrator, demo, &api, "quickstart", false).await?;
    let production = one(narrator, demo, &api, "production", true).await?;
    until_the_ingress_serves(demo).await?;
    narrator.command(&format!("kubectl -n {NAMESPACE} get mcp"));
    let shown = tokio::task::block_in_place(|| demo.cluster.kubectl(&["get", "mcp", "--namespace", NAMESPACE]))?;
    narrator.detail(&shown);
    Ok(Ready { quickstart, production })
}

/// The route is admitted; the ingress controller learns of the pods in its own time.
async fn until_the_ingress_serves(demo: &Demo) -> Result<()> {
    let authority = std::fs::read_to_string(demo.folder.join("ca.crt")).context("read the authority")?;
    let endpoint = Endpoint {
        tls: true,
        host: HOST.to_owned(),
        address: SocketAddr::new(demo.ingress, 443),
        source: None,
        version: Version::Http1,
        trust: http::trust(&authority)?,
    };
    let since = Instant::now();
    loop {
        // At first it may have neither the route nor the certificate.
        let why = match endpoint.get("/health").await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            Ok(answer) => answer.status.to_string(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(since.elapsed() < PATIENCE, "https://{HOST}/health does not answer through the ingress: {why}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn one(
    narrator: &Narrator,
    demo: &Demo,
    api: &Api<McpServer>,
    name: &str,
    with_issuer: bool,
) -> Result<Option<Duration>> {
    let file = repository().join("examples").join(name).with_extension("yaml");
    let mut manifest: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file)?).context("parse the example")?;
    narrator.command(&format!("kubectl -n {NAMESPACE} apply -f examples/{name}.yaml"));
    if with_issuer {
        find_issuer_inside(&mut manifest);
        narrator.detail("(with one addition: where pods find auth.example.com, which is a pod here itself)");
    }
    let was_ready = api.get_opt(name).await?.is_some_and(|server| is_ready(&server).is_ok());
    let before = Instant::now();
    tokio::task::block_in_place(|| fixtures::apply_in(&demo.cluster, NAMESPACE, &manifest.to_string()))?;
    let took = wait(api, name, before).await?;
    let text = if was_ready { "is Ready, as before".to_owned() } else { format!("Ready after {}", seconds(took)) };
    narrator.success(&format!("{name} {text}"));
    Ok((!was_ready).then_some(took))
}

/// The example names its issuer by the URL that clients know; here that host exists outside of the cluster only.
fn find_issuer_inside(manifest: &mut Value) {
    let issuer = &mut manifest["spec"]["auth"]["issuers"][0];
    issuer["serverUrl"] = json!(format!("http://issuer.{NAMESPACE}.svc.cluster.local"));
    issuer["jwksUrl"] = json!(format!("http://issuer.{NAMESPACE}.svc.cluster.local/jwks"));
}

async fn wait(api: &Api<McpServer>, name: &str, since: Instant) -> Result<Duration> {
    loop {
        let server = api.get(name).await.with_context(|| format!("get McpServer {name}"))?;
        match is_ready(&server) {
            Ok(()) => return Ok(since.elapsed()),
            Err(why) if since.elapsed() >= PATIENCE => {
                bail!("McpServer {name} is not Ready after {}: {why}", seconds(PATIENCE))
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Ready for its newest generation, or why not.
fn is_ready(server: &McpServer) -> Result<(), String> {
    let mut conditions = server.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    let Some(Condition { status, reason, message, observed_generation, .. }) = ready else {
        return Err("the operator has not said anything about it yet".to_owned());
    };
    if *observed_generation != server.metadata.generation {
        return Err("the operator has not seen its newest generation yet".to_owned());
    }
    if status == "True" { Ok(()) } else { Err(format!("{reason}: {message}")) }
}
