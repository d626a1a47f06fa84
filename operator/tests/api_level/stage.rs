//! A real control plane, and the operator's own binary in front of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::clusters::ApiLevel;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use mcp_crds::McpServer;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Stage {
    pub level: ApiLevel,
    pub client: Client,
    operator: Option<Operator>,
}

/// The running binary. Dropping it ends it.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    pub async fn start() -> Result<Self> {
        let level = tokio::task::spawn_blocking(ApiLevel::start).await??;
        let client = level.client().await?;
        let mut stage = Self { level, client, operator: None };
        stage.install_crd().await?;
        stage.start_operator()?;
        Ok(stage)
    }

    async fn install_crd(&self) -> Result<()> {
        let api = Api::<CustomResourceDefinition>::all(self.client.clone());
        let crd = api.create(&PostParams::default(), &mcp_crds::crd::mcpservers()).await?;
        let name = crd.metadata.name.context("name")?;
        self.eventually("the CRD is served", async || {
            let status = api.get(&name).await?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            Ok(conditions.iter().any(|c| c.type_ == "Established" && c.status == "True").then_some(()))
        })
        .await
    }

    pub fn start_operator(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.operator_log())?;
        let child = Command::new(env!("CARGO_BIN_EXE_mcp-operator"))
            .args(["--probe-via=none", "--health-port=0", "--metrics-port=0", "--runtime-image=mcp-server:test"])
            .args(["--lease-namespace=default", "--log-level=debug,hyper=info,kube=info,tower=info,h2=info"])
            .env("KUBECONFIG", self.level.kubeconfig())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.operator = Some(Operator(child));
        Ok(())
    }

    /// Asks it to end, as the kubelet does, and waits for that.
    pub async fn stop_operator(&mut self) -> Result<()> {
        let mut operator = self.operator.take().context("the operator runs")?;
        let status = Command::new("kill").args(["-TERM", &operator.0.id().to_string()]).status()?;
        ensure!(status.success());
        let exit = self.eventually("the operator ends after SIGTERM", async || Ok(operator.0.try_wait()?)).await?;
        ensure!(exit.success(), "it ended with {exit}");
        Ok(())
    }

    pub fn operator_log(&self) -> PathBuf {
        self.level.kubeconfig().with_file_name("operator.log")
    }

    pub async fn namespace(&self, name: &str) -> Result<Space> {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
            ..Default::default()
        };
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(Space { client: self.client.clone(), namespace: name.to_owned() })
    }

    pub fn audit(&self) -> Result<Audit> {
        let path = self.level.audit_log_path();
        let from = std::fs::metadata(&path)?.len();
        Ok(Audit { path, from })
    }

    /// Group and resource, and verb, of everything that the operator has asked for since the start.
    pub fn verbs_of_operator(&self) -> Result<BTreeSet<(String, String)>> {
        let log = std::fs::read_to_string(self.level.audit_log_path())?;
        let requests = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(is_operators);
        let verbs = requests.filter(|request| request["objectRef"]["resource"].is_string()).map(|request| {
            let object = &request["objectRef"];
            let part = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
            let resource = match part("subresource") {
                sub if sub.is_empty() => part("resource"),
                sub => format!("{}/{sub}", part("resource")),
            };
            (format!("{}/{resource}", part("apiGroup")), request["verb"].as_str().unwrap_or_default().to_owned())
        });
        Ok(verbs.collect())
    }

    async fn eventually<T>(&self, what: &str, ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
        eventually(what, ask).await
    }
}

pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if start.elapsed() > PATIENCE {
            bail!("{what}: {last}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One namespace, and what tests do in it.
pub struct Space {
    client: Client,
    pub namespace: String,
}

impl Space {
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn serve(&self, name: &str, spec: Value) -> Result<McpServer> {
        let server = json!({
            "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": name}, "spec": spec
        });
        let params = PatchParams::apply("test").force();
        Ok(self.api::<McpServer>().patch(name, &params, &Patch::Apply(server)).await?)
    }

    /// Waits until a condition is as wanted for the newest generation.
    pub async fn condition(&self, name: &str, kind: &str, wanted: impl Fn(&Condition) -> bool) -> Result<Condition> {
        eventually(&format!("{kind} of {name}"), async || {
            let server = self.api::<McpServer>().get(name).await?;
            let conditions = server.status.unwrap_or_default().conditions;
            let Some(condition) = conditions.into_iter().find(|condition| condition.type_ == kind) else {
                return Ok(None);
            };
            if condition.observed_generation == server.metadata.generation && wanted(&condition) {
                return Ok(Some(condition));
            }
            bail!("{} {}: {}", condition.status, condition.reason, condition.message)
        })
        .await
    }

    pub async fn programmed(&self, name: &str) -> Result<()> {
        self.condition(name, "Programmed", |condition| condition.status == "True").await.map(drop)
    }

    pub async fn gone<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        eventually(&format!("{} {name} is gone", K::kind(&())), async || {
            Ok(self.api::<K>().get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    pub async fn exists<K>(&self, name: &str) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        eventually(&format!("{} {name} exists", K::kind(&())), async || Ok(self.api::<K>().get_opt(name).await?)).await
    }
}

/// The API server's own account of what the operator asked.
pub struct Audit {
    path: PathBuf,
    from: u64,
}

impl Audit {
    /// `verb resource` of every request of the operator since the last look.
    pub fn of_operator(&mut self) -> Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line that is being written is read the next time.
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        self.from += complete as u64;
        let requests = text[..complete].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(requests.filter(is_operators).map(|request| describe(&request)).collect())
    }
}

fn is_operators(request: &Value) -> bool {
    request["userAgent"].as_str().is_some_and(|agent| agent.starts_with("mcp-operator/"))
}

fn describe(request: &Value) -> String {
    let object = &request["objectRef"];
    let part = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let resource = match part("subresource") {
        sub if sub.is_empty() => part("resource"),
        sub => format!("{}/{sub}", part("resource")),
    };
    format!("{} {resource} {}", request["verb"].as_str().unwrap_or_default(), part("name"))
}
