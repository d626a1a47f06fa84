//! A real control plane, and the operator's own binary in front of it, with the account and the rights that the chart
//! gives it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::clusters::ApiLevel;
use e2e::clusters::tools::Tools;
use e2e::product::install::{self, NAMESPACE as OPERATOR, RELEASE};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use mcp_crds::McpServer;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cases::NAMESPACES;

/// Reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the operator has its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere, by a ClusterRole.
    Cluster,
    /// In the namespaces of the cases, by a Role in each.
    Namespaces,
}

pub struct Stage {
    pub level: ApiLevel,
    pub client: Client,
    pub scope: Scope,
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
    pub async fn start(scope: Scope) -> Result<Self> {
        let level = tokio::task::spawn_blocking(ApiLevel::start).await??;
        let client = level.client().await?;
        let mut stage = Self { level, client, scope, operator: None };
        stage.install_crd().await?;
        for name in [OPERATOR].iter().chain(NAMESPACES) {
            let name = Some((*name).to_owned());
            let namespace =
                Namespace { metadata: ObjectMeta { name, ..ObjectMeta::default() }, ..Namespace::default() };
            Api::<Namespace>::all(stage.client.clone()).create(&PostParams::default(), &namespace).await?;
        }
        tokio::task::block_in_place(|| stage.install_account())?;
        stage.start_operator()?;
        Ok(stage)
    }

    /// The chart's ServiceAccount and roles, without the Deployment, which no node here would run.
    fn install_account(&self) -> Result<()> {
        let helm = Tools::of(&["helm"])?.program("helm", "helm")?;
        let mut template = Command::new(helm);
        template.args(["template", RELEASE, &install::chart(), "--namespace", OPERATOR]);
        template.args(["--show-only=templates/rbac.yaml", "--show-only=templates/serviceaccount.yaml"]);
        if self.scope == Scope::Namespaces {
            template.arg(format!("--set=watchNamespaces={{{}}}", NAMESPACES.join(",")));
        }
        let output = template.output().context("run helm")?;
        ensure!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
        self.level.kubectl_with_input(&["apply", "-f", "-"], &String::from_utf8(output.stdout)?)?;

        let token = self.level.kubectl(&["create", "token", RELEASE, "--namespace", OPERATOR, "--duration=8h"])?;
        let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(self.level.kubeconfig())?)?;
        kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
        std::fs::write(self.operator_kubeconfig(), kubeconfig.to_string()).context("write the operator's kubeconfig")
    }

    fn operator_kubeconfig(&self) -> PathBuf {
        self.level.kubeconfig().with_file_name("operator.kubeconfig")
    }

    /// The operator as the chart would run it.
    pub fn operator(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-operator"));
        command
            .args(["--probe-via=none", "--health-port=0", "--metrics-port=0", "--runtime-image=mcp-server:test"])
            .args(["--lease-namespace", OPERATOR, "--operator-namespace", OPERATOR])
            .env("KUBECONFIG", self.operator_kubeconfig())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if self.scope == Scope::Namespaces {
            command.arg("--namespaces").arg(NAMESPACES.join(","));
        }
        command
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
        let level = "--log-level=debug,hyper=info,kube=info,tower=info,h2=info";
        self.operator = Some(Operator(self.operator().arg(level).stderr(log).spawn()?));
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

    /// One of [`NAMESPACES`], for one case.
    pub fn namespace(&self, name: &str) -> Result<Space> {
        ensure!(NAMESPACES.contains(&name), "{name} is not among NAMESPACES, where the operator has its rights");
        Ok(Space { client: self.client.clone(), namespace: name.to_owned() })
    }

    pub fn audit(&self) -> Result<Audit> {
        let path = self.level.audit_log_path();
        let from = std::fs::metadata(&path)?.len();
        Ok(Audit { path, from })
    }

    /// Every request of the operator since the start, and what was decided about it.
    fn requests_of_operator(&self) -> Result<Vec<Value>> {
        let log = std::fs::read_to_string(self.level.audit_log_path())?;
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(is_operators).collect())
    }

    /// What it was not allowed.
    pub fn denied_to_operator(&self) -> Result<Vec<String>> {
        let denied = |request: &&Value| request["annotations"]["authorization.k8s.io/decision"] != "allow";
        let requests = self.requests_of_operator()?;
        Ok(requests
            .iter()
            .filter(denied)
            .map(|request| format!("{} {}", describe(request), request["requestURI"]))
            .collect())
    }

    /// Group and resource, and verb, of everything that the operator has asked for since the start.
    pub fn verbs_of_operator(&self) -> Result<BTreeSet<(String, String)>> {
        let requests = self.requests_of_operator()?.into_iter();
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
