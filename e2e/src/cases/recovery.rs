//! Everything is lost but what docs/recovery.md says to keep; then what it says is done, word for word.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::{Context, Done};
use crate::product::fixtures;

const PAGE: &str = include_str!("../../../docs/recovery.md");

pub async fn what_is_documented_to_be_kept_is_enough(context: &Context) -> Result<Done> {
    // It names a Secret that is the user's: the certificate of its host.
    context.serve("kept", &format!("backend: {{builtin: {{}}}}\n{}", context.exposed_with_auth("user")))?;
    context.served("kept").await?;
    let session = context.caller_with("user").await?.initialize().await?;
    session.call("add", json!({"a": 1, "b": 1})).await?;
    let keys = context.api::<Secret>().get("kept-keys").await?.data;

    let folder = tempfile::tempdir().context("make a folder")?;
    run(context, &folder, "Export")?;
    block_in_place(|| lose_the_namespace(context))?;
    run(context, &folder, "Restore")?;

    context.served("kept").await?;
    let fresh = context.caller_with("user").await?.initialize().await?;
    let sum = fresh.call("add", json!({"a": 20, "b": 22})).await?;
    ensure!(sum.to_string().contains("42"), "{sum}");
    // What the page says is lost, is: so that nobody counts on it.
    ensure!(context.api::<Secret>().get("kept-keys").await?.data != keys, "the keys are those of before");
    let answer = session.answer("add", json!({"a": 1, "b": 1})).await?;
    ensure!(answer.status == StatusCode::NOT_FOUND, "a session of before is answered with {}", answer.status);
    Ok(Done::Passed)
}

/// With it goes the Role of an operator of single namespaces, which the chart makes anew.
fn lose_the_namespace(context: &Context) -> Result<()> {
    let (stage, namespace) = (&context.stage, &context.namespace);
    stage.cluster.kubectl(&["delete", "namespace", namespace, "--timeout=120s"])?;
    fixtures::namespace(&stage.cluster, namespace)?;
    if stage.namespaced { stage.install(&stage.images, &[]) } else { Ok(()) }
}

/// Runs the commands of one section of the page, for this namespace instead of all.
fn run(context: &Context, folder: &TempDir, section: &str) -> Result<()> {
    let text = PAGE.split("\n## ").find(|text| text.starts_with(section)).context("the page has that section")?;
    let blocks: Vec<_> = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure!(!blocks.is_empty(), "no commands in section {section}");
    let script = blocks.concat().replace(" -A", &format!(" -n {}", context.namespace));
    let cluster = &context.stage.cluster;
    let script = format!("kubectl() {{ '{}' \"$@\"; }}\n{script}", cluster.kubectl_path()?.display());
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).env("KUBECONFIG", cluster.kubeconfig());
    let output = block_in_place(|| command.current_dir(folder.path()).output()).context("start bash")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{section}: {}\n{script}\n{said}", output.status);
    Ok(())
}
