//! The floor: the writes of a server and nothing else, by 32 connections that each send the next when the last is
//! answered. No watch, no comparison, nothing rendered while the time runs. What is above it is the operator's doing.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use mcp_crds::McpServer;
use mcp_operator::apply::Manifests;
use mcp_operator::desired::keys::Material;
use mcp_operator::desired::{EnvDigest, Resolved, desired};
use mcp_operator::settings::{SecretAccess, Settings};
use serde_json::{Value, json};

use crate::process;
use crate::samples::{self, Sample};
use crate::stage::{Stage, client_of};

/// How it is known in the audit log.
pub const AGENT: &str = "bench-floor/1";

const CONNECTIONS: usize = 32;
const MANAGER: &str = "mcp-operator";

/// What is written.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    namespace: String,
    #[arg(long, value_enum)]
    sample: Sample,
    #[arg(long)]
    count: usize,
    /// A file with the status that each server gets.
    #[arg(long)]
    status: PathBuf,
}

/// All writes of one server.
struct Writes {
    server: Value,
    children: Vec<(ApiResource, String, Value)>,
    keys: (ApiResource, Value),
    status: Value,
}

/// Runs it as a process on the operator's processor.
pub async fn measure(stage: &Stage, namespace: &str, sample: Sample, count: usize, status: &Value) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), status.to_string())?;
    let mut command = process::on(stage.cores.operator);
    command.arg(std::env::current_exe()?).arg("floor").arg("--kubeconfig").arg(stage.level.kubeconfig());
    command.args(["--namespace", namespace, "--sample", sample.name(), "--count", &count.to_string(), "--status"]);
    command.arg(file.path()).stdin(Stdio::null());
    let status = tokio::task::spawn_blocking(move || command.status()).await?.context("start taskset")?;
    ensure!(status.success(), "the floor failed");
    Ok(())
}

/// Writes. The audit log tells how long it took.
pub async fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { kubeconfig, namespace, sample, count, status } = arguments;
    let status: Value = serde_json::from_str(&std::fs::read_to_string(status)?)?;
    let mut queues: Vec<Vec<Writes>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for index in 0..*count {
        queues[index % CONNECTIONS].push(Writes::of(*sample, namespace, &samples::name(index), &status)?);
    }
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(client_of(kubeconfig, AGENT).await?);
    }
    let begun = Instant::now();
    let work =
        queues.into_iter().zip(clients).map(|(queue, client)| tokio::spawn(send(queue, client, namespace.clone())));
    for ended in try_join_all(work).await? {
        ended?;
    }
    eprintln!("  the floor: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn send(queue: Vec<Writes>, client: Client, namespace: String) -> Result<()> {
    let servers = ApiResource::erase::<McpServer>(&());
    let api = |resource: &ApiResource| Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, resource);
    let apply = PatchParams::apply(MANAGER).force();
    for Writes { server, children, keys, mut status } in queue {
        let created = api(&servers).create(&PostParams::default(), &serde_json::from_value(server)?).await?;
        api(&keys.0).create(&PostParams::default(), &serde_json::from_value(keys.1)?).await?;
        for (resource, name, body) in children {
            api(&resource).patch(&name, &apply, &Patch::Apply(body)).await?;
        }
        let name = created.metadata.name.context("no name")?;
        status["metadata"] = json!({"name": name, "uid": created.metadata.uid});
        api(&servers).patch_status(&name, &apply, &Patch::Apply(status)).await?;
    }
    Ok(())
}

impl Writes {
    fn of(sample: Sample, namespace: &str, name: &str, status: &Value) -> Result<Self> {
        let server = sample.server(name)?;
        let mut stored = server.clone();
        stored["metadata"]["namespace"] = json!(namespace);
        // Nobody looks for the owner: no garbage collector runs.
        stored["metadata"]["uid"] = json!("6a1f0e5c-3b52-4c0d-9a63-1d2b8f1e7c44");
        let stored: McpServer = serde_json::from_value(stored)?;
        let children = desired(&stored, &resolved(sample), &settings())?;
        let manifests = Manifests::of(&children)?;
        let material = Material { session: [1; 32], request_state: [2; 32], peer: [3; 32] };
        let secret = serde_json::to_value(manifests.keys.with(&material, String::new()))?;
        let applied = manifests.applied.into_iter();
        Ok(Self {
            server,
            children: applied.map(|child| (child.kind.resource(), child.name, child.body)).collect(),
            keys: (mcp_operator::kind::Kind::Secret.resource(), secret),
            status: json!({"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "status": status}),
        })
    }

    fn children(&self) -> usize {
        self.children.len() + 1
    }
}

/// How many children a server has.
pub fn children(sample: Sample) -> Result<usize> {
    Ok(Writes::of(sample, "bench", "server", &json!({}))?.children())
}

fn resolved(sample: Sample) -> Resolved {
    match sample {
        Sample::Minimal => Resolved::default(),
        Sample::Full => Resolved {
            ingress_controller: Some("k8s.io/ingress-nginx".to_owned()),
            env_digest: Some(EnvDigest { digest: "0".repeat(32), versions: "0".repeat(32) }),
            ..Resolved::default()
        },
    }
}

/// As the stage starts the operator.
fn settings() -> Settings {
    Settings {
        runtime_image: "mcp-server:bench".to_owned(),
        runtime_image_pull_policy: None,
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: Some("mcp-system".to_owned()),
        mcp_from: Vec::new(),
        metrics_from: Vec::new(),
        secret_access: SecretAccess::Full,
    }
}
