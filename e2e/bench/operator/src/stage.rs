//! The control plane on one processor, the operator's own binary on the other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::clusters::{ApiLevel, Controllers};
use http::HeaderValue;
use http::header::USER_AGENT;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::sleep;

use crate::process::{self, Cores};

/// The end of a process that was asked to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs.
pub struct Stage {
    pub level: ApiLevel,
    pub cores: Cores,
    program: PathBuf,
}

/// The operator at work. Dropping it ends it.
pub struct Operator {
    pub child: Child,
    pub started: Instant,
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It has ended if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stage {
    /// Starts the control plane. Blocks.
    pub fn build(operator: Option<PathBuf>) -> Result<Self> {
        let this = std::env::current_exe().context("find this program")?;
        let program = operator.unwrap_or_else(|| this.with_file_name("mcp-operator"));
        ensure!(program.exists(), "{} is missing: build it, or say where it is with --operator", program.display());
        let cores = Cores::take()?;
        // A thread of its own: what it starts stays where it is, and our other threads may read audit logs anywhere.
        let level = std::thread::spawn(move || {
            Cores::stay(cores.others)?;
            ApiLevel::start_with(Controllers::None)
        });
        let level = level.join().map_err(|_| anyhow::anyhow!("starting the control plane panicked"))??;
        Cores::stay(cores.others)?;
        Ok(Self { level, cores, program })
    }

    /// A client that is neither the operator nor the floor.
    pub async fn client(&self) -> Result<Client> {
        self.level.client().await
    }

    pub async fn install(&self, client: &Client) -> Result<()> {
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        let definition = definitions.create(&PostParams::default(), &mcp_crds::crd::mcpservers()).await?;
        let name = definition.metadata.name.context("the definition has no name")?;
        loop {
            let conditions = definitions.get(&name).await?.status.and_then(|status| status.conditions);
            let mut conditions = conditions.into_iter().flatten();
            if conditions.any(|condition| condition.type_ == "Established" && condition.status == "True") {
                // Established is said a moment before every path of it is served.
                sleep(Duration::from_secs(2)).await;
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn operator(&self) -> Result<Operator> {
        let log = File::options().create(true).append(true).open(self.operator_log())?;
        let mut command = process::on(self.cores.operator);
        command.arg(&self.program).args(["--health-port=0", "--metrics-port=0", "--lease-namespace=default"]);
        command.args(["--operator-namespace=mcp-system", "--runtime-image=mcp-server:bench"]);
        command.env("KUBECONFIG", self.level.kubeconfig()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Operator { child: command.spawn().context("start taskset (package util-linux)")?, started: Instant::now() })
    }

    pub fn operator_log(&self) -> PathBuf {
        self.level.kubeconfig().with_file_name("operator.log")
    }
}

impl Operator {
    /// Asks it to end, as the kubelet does.
    pub async fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).context("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(asked.elapsed() < PATIENCE, "the operator does not end");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until it uses no processor any more; how long that took since its start.
    pub async fn idle(&self) -> Result<Duration> {
        const WINDOW: Duration = Duration::from_secs(2);
        let (mut before, mut since) = (process::cpu(&self.child)?, Instant::now());
        while since.elapsed() < WINDOW {
            sleep(Duration::from_millis(100)).await;
            let now = process::cpu(&self.child)?;
            // A tick now and then is the Lease.
            if now - before > 10.0 {
                (before, since) = (now, Instant::now());
            }
        }
        Ok(since.duration_since(self.started))
    }
}

/// A client, with connections of its own, that says who it is.
pub async fn client_of(kubeconfig: &Path, agent: &'static str) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Client::try_from(config).context("make a client")
}
