//! What one case has: its namespace, its host name, and the questions that cases ask.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams};
use mcp_crds::McpServer;
use serde_json::Value;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::stage::{self, work_folder};
use super::{Case, Stage};
use crate::client::http::{self, Endpoint, Version};
use crate::client::mcp::Caller;
use crate::product::{certificates, fixtures};

/// Long enough for a pod to start on a loaded machine; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Settings that make pods small and quick, so that many fit on a small node.
const SMALL: &str = "\
runtime:
  resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 256Mi}}
  probes: {readiness: {initialDelaySeconds: 0, periodSeconds: 1}}
disruption: {drainSeconds: 20}
";

/// What one case has.
pub struct Context {
    /// What it shares with the others.
    pub stage: Arc<Stage>,
    /// A client with all rights. Its connections belong to the case's runtime, so it is not shared.
    pub client: kube::Client,
    /// Its namespace.
    pub namespace: String,
    /// Its host name behind the ingress; the Secret `mcp-tls` has the certificate.
    pub host: String,
    /// The file with the certificate's authority.
    pub authority: PathBuf,
    endpoint: Endpoint,
}

impl Context {
    /// Makes the namespace of a case.
    pub async fn new(stage: Arc<Stage>, case: &Case) -> Result<Self> {
        let (namespace, case) = (case.namespace(), case.name);
        let host = format!("{case}.mcp.test");
        let authority = block_in_place(|| {
            let cluster = &stage.cluster;
            if !stage.namespaced {
                // What an earlier run left because it failed.
                cluster.kubectl(&["delete", "namespace", &namespace, "--ignore-not-found", "--timeout=120s"])?;
                fixtures::namespace(cluster, &namespace)?;
            }
            let file = work_folder().join(format!("{case}-ca.crt"));
            certificates::ensure(cluster, &namespace, "mcp-tls", &[&host], &file)
        })?;
        let endpoint = Endpoint {
            tls: true,
            host: host.clone(),
            address: SocketAddr::new(stage.ingress, 443),
            source: None,
            version: Version::Http1,
            trust: http::trust(&authority.pem)?,
        };
        let client = stage.cluster.client().await?;
        Ok(Self { stage, client, namespace, host, authority: authority.file, endpoint })
    }

    /// Deletes the namespace, and waits for it on demand. One in which the operator has its Role is emptied.
    pub fn clean_up(&self, wait: bool) -> Result<()> {
        if self.stage.namespaced {
            let kinds = "mcpservers.mcp-operator.dev,deployments,statefulsets,replicasets,jobs,pods,services";
            return self.kubectl(&["delete", kinds, "--all", "--timeout=120s"]).map(drop);
        }
        let wait = format!("--wait={wait}");
        let arguments = ["delete", "namespace", &self.namespace, &wait, "--timeout=120s"];
        block_in_place(|| self.stage.cluster.kubectl(&arguments)).map(drop)
    }

    // ── What a user does ────────────────────────────────────────────────────────────────────────────────────────────

    /// Runs kubectl in the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let all = [&["--namespace", &self.namespace], arguments].concat();
        block_in_place(|| self.stage.cluster.kubectl(&all))
    }

    /// Applies manifests in the namespace.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        block_in_place(|| fixtures::apply_in(&self.stage.cluster, &self.namespace, manifest))
    }

    /// Applies an `McpServer` of which `spec` is given, and makes it small.
    pub fn serve(&self, name: &str, spec: &str) -> Result<()> {
        self.apply(&manifest(name, &format!("{SMALL}{spec}")))
    }

    /// Merges a change into an `McpServer`.
    pub fn patch(&self, name: &str, patch: &Value) -> Result<()> {
        self.kubectl(&["patch", "mcpserver", name, "--type=merge", "-p", &patch.to_string()]).map(drop)
    }

    /// The ingress class. An operator of single namespaces may not look it up.
    #[must_use]
    pub fn ingress(&self) -> &'static str {
        if self.stage.namespaced { "{className: nginx, profile: ingress-nginx}" } else { "{className: nginx}" }
    }

    /// `spec.expose` and `spec.auth` for this case's host and the shared authorization server.
    #[must_use]
    pub fn exposed_with_auth(&self, scopes: &str) -> String {
        format!(
            "expose: {{hosts: [{}], tls: {{secretName: mcp-tls}}, ingress: {}}}\n\
             auth: {{issuers: [{}], requiredScopes: [{scopes}]}}\n\
             rateLimits: {{perClient: {{requests: 0}}}}\n",
            self.host,
            self.ingress(),
            stage::issuer_entry()
        )
    }

    /// `spec.expose` for this case's host, open to everybody.
    #[must_use]
    pub fn exposed_to_everybody(&self) -> String {
        format!(
            "expose: {{hosts: [{}], tls: {{secretName: mcp-tls}}, ingress: {}}}\n\
             auth: {{anonymous: Allow}}\n\
             rateLimits: {{perClient: {{requests: 0}}}}\n",
            self.host,
            self.ingress()
        )
    }

    /// A redis in this namespace, with the Secret `mcp-secrets`.
    pub fn redis(&self) -> Result<()> {
        block_in_place(|| {
            fixtures::redis(&self.stage.cluster, &self.namespace, &self.stage.images)?;
            fixtures::wait_for(&self.stage.cluster, &self.namespace, "redis")
        })
    }

    /// The case's host behind the ingress.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A caller of `/mcp` at the case's host, without a token.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::new(self.endpoint.clone(), "/mcp")
    }

    /// A caller with a token for this host.
    pub async fn caller_with(&self, scope: &str) -> Result<Caller> {
        Ok(self.caller().with_token(&self.stage.token(scope, &self.url()).await?))
    }

    /// The URL of the MCP endpoint at the case's host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/mcp", self.host)
    }

    // ── What a user sees ────────────────────────────────────────────────────────────────────────────────────────────

    /// An API of this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The `McpServer`.
    pub async fn server(&self, name: &str) -> Result<McpServer> {
        self.api().get(name).await.with_context(|| format!("get McpServer {name}"))
    }

    /// Waits until the server is Ready for its newest generation.
    pub async fn ready(&self, name: &str) -> Result<McpServer> {
        self.condition(name, "Ready", |condition| condition.status == "True").await
    }

    /// Waits until the server is Ready and the ingress controller, which learns of pods in its own time, serves it.
    pub async fn served(&self, name: &str) -> Result<McpServer> {
        let server = self.ready(name).await?;
        self.eventually("the ingress serves it", async || {
            // Until it has the route and its certificate it answers with its own, or not at all.
            Ok(self.endpoint.get("/health").await.is_ok_and(|answer| answer.status == StatusCode::OK).then_some(()))
        })
        .await?;
        Ok(server)
    }

    /// Waits until a condition that speaks of the newest generation is as wanted.
    pub async fn condition(&self, name: &str, kind: &str, wanted: impl Fn(&Condition) -> bool) -> Result<McpServer> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let server = self.server(name).await?;
            if condition_of(&server, kind).is_some_and(&wanted) {
                return Ok(server);
            }
            if Instant::now() >= deadline {
                bail!("waited {PATIENCE:?} for condition {kind} of {name}; it has{}", conditions_as_text(&server));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks again and again until it is so.
    pub async fn eventually<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                bail!("waited {PATIENCE:?} until {what}");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The pods of a server that are not about to end.
    pub async fn pods(&self, name: &str) -> Result<Vec<Pod>> {
        let selector = format!("app.kubernetes.io/name=mcp-server,app.kubernetes.io/instance={name}");
        let pods = self.api::<Pod>().list(&ListParams::default().labels(&selector)).await?;
        Ok(pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// The uids of a server's pods, sorted.
    pub async fn pod_uids(&self, name: &str) -> Result<Vec<String>> {
        let mut uids: Vec<_> = self.pods(name).await?.into_iter().filter_map(|pod| pod.metadata.uid).collect();
        uids.sort();
        Ok(uids)
    }

    /// GET on a pod's own port, through the API server.
    pub async fn get_from_pod(&self, pod: &str, port: u16, path: &str) -> Result<String> {
        let uri = format!("/api/v1/namespaces/{}/pods/{pod}:{port}/proxy{path}", self.namespace);
        let request = ::http::Request::get(uri).body(Vec::new())?;
        self.client.request_text(request).await.with_context(|| format!("GET {path} of pod {pod}"))
    }

    /// The messages of a server's events that have this reason.
    pub fn events(&self, name: &str, reason: &str) -> Result<String> {
        let selector = format!("involvedObject.kind=McpServer,involvedObject.name={name},reason={reason}");
        self.kubectl(&["get", "events", "--field-selector", &selector, "-o", "jsonpath={.items[*].message}"])
    }
}

/// An `McpServer` manifest: `spec` is YAML without indentation.
#[must_use]
pub fn manifest(name: &str, spec: &str) -> String {
    let mut text =
        format!("apiVersion: mcp-operator.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: {name}}}\nspec:\n");
    for line in spec.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// A condition that speaks of the newest generation.
#[must_use]
pub fn condition_of<'a>(server: &'a McpServer, kind: &str) -> Option<&'a Condition> {
    let conditions = &server.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    (condition.observed_generation == server.metadata.generation).then_some(condition)
}

/// All conditions, one a line.
#[must_use]
pub fn conditions_as_text(server: &McpServer) -> String {
    let mut text = String::new();
    for Condition { type_, status, reason, message, observed_generation, .. } in
        server.status.iter().flat_map(|status| &status.conditions)
    {
        let _ = write!(text, "\n  {type_}={status} {reason} (generation {observed_generation:?}): {message}");
    }
    text
}
