//! The operator as a developer runs it: a process on this machine, with a kubeconfig.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use http::StatusCode;
use tokio::process::Command;
use tokio::task::block_in_place;

use super::stage::work_folder;
use super::{Context, Done};
use crate::product::{build, install};

pub async fn the_operator_runs_outside_of_the_cluster(context: &Context) -> Result<Done> {
    // Two operators would do each other's work.
    scale_installed(context, 0)?;
    let story = async {
        let log = std::fs::File::create(work_folder().join("operator-outside.log"))?;
        let _operator = Command::new(build::folder().join("mcp-operator"))
            .env("KUBECONFIG", context.stage.cluster.kubeconfig())
            .args(["--no-leader-election", "--probe-via=port-forward", "--namespaces", &context.namespace])
            .args(["--runtime-image", &context.stage.images.server, "--runtime-image-pull-policy=IfNotPresent"])
            .args(["--health-port=0", "--metrics-port=0"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start mcp-operator")?;
        // An operator for single namespaces may not read the cluster's IngressClasses.
        let exposed = context
            .exposed_with_auth("user")
            .replace("{className: nginx}", "{className: nginx, profile: ingress-nginx}");
        context.serve("remote", &format!("backend: {{builtin: {{}}}}\n{exposed}"))?;
        context.served("remote").await.context("see target/e2e/operator-outside.log")?;
        context.caller_with("user").await?.list().await?.expect(StatusCode::OK)?;
        Ok(Done::Passed)
    };
    let result = story.await;
    scale_installed(context, 1)?;
    result
}

fn scale_installed(context: &Context, replicas: u32) -> Result<()> {
    let name = format!("deployment/{}", install::RELEASE);
    let replicas = format!("--replicas={replicas}");
    block_in_place(|| {
        let cluster = &context.stage.cluster;
        cluster.kubectl(&["scale", &name, &replicas, "--namespace", install::NAMESPACE])?;
        cluster.kubectl(&["rollout", "status", &name, "--namespace", install::NAMESPACE, "--timeout=120s"])
    })
    .map(drop)
}
