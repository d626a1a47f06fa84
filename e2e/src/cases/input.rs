//! Bad input: a clear error at the right place.

use anyhow::{Context as _, Result, bail, ensure};
use std::process::Command;
use tokio::task::block_in_place;

use super::context::manifest;
use super::sessions::REDIS;
use super::{Context, Done};
use crate::product::build;

/// What is wrong, the spec, and what the API server's message must contain.
const REFUSED: &[(&str, &str, &[&str])] = &[
    ("an unknown field", "backend: {builtin: {}}\nreplica: 3\n", &["unknown field", "spec.replica"]),
    ("two backends", "backend: {builtin: {}, container: {image: a/b:1}}\n", &["set exactly one backend"]),
    ("no backend", "backend: {}\n", &["set exactly one backend"]),
    (
        "a bad image reference",
        "backend: {container: {image: \"a b:1\"}}\n",
        &["spec.backend.container.image", "not an image reference"],
    ),
    (
        "an invalid host",
        "backend: {builtin: {}}\nauth: {anonymous: Allow}\nexpose: {hosts: [\"https://mcp.example.com\"]}\n",
        &["spec.expose.hosts", "without scheme"],
    ),
    ("expose without auth", "backend: {builtin: {}}\nexpose: {hosts: [mcp.example.com]}\n", &["expose needs auth"]),
    ("auth without issuers", "backend: {builtin: {}}\nauth: {}\n", &["name at least one issuer"]),
    (
        "Redis sessions without redis",
        "backend: {builtin: {}}\nsessions: {store: Redis}\n",
        &["sessions.store: Redis needs redis"],
    ),
    (
        "a snippet",
        "backend: {builtin: {}}\nauth: {anonymous: Allow}\nexpose: {hosts: [a.example.com], ingress: {annotations: {nginx.ingress.kubernetes.io/server-snippet: x}}}\n",
        &["snippet annotations"],
    ),
    (
        "a volume of the node",
        "backend: {builtin: {}}\npod: {volumes: [{name: a, hostPath: {path: /}}]}\n",
        &["hostPath"],
    ),
    ("a negative number of replicas", "backend: {builtin: {}}\nreplicas: -1\n", &["spec.replicas"]),
];

pub async fn the_api_server_refuses_what_cannot_work(context: &Context) -> Result<Done> {
    for (what, spec, wanted) in REFUSED {
        let yaml = manifest("refused", spec);
        let arguments = ["apply", "--dry-run=server", "--namespace", &context.namespace, "-f", "-"];
        let answer = block_in_place(|| context.stage.cluster.kubectl_with_input(&arguments, &yaml));
        let Err(error) = answer else { bail!("{what} was accepted") };
        let message = format!("{error:#}");
        for part in *wanted {
            ensure!(message.contains(part), "{what}: {part:?} is not in the message: {message}");
        }
    }
    let name = "a".repeat(53);
    let answer = block_in_place(|| {
        let yaml = manifest(&name, "backend: {builtin: {}}\n");
        let arguments = ["apply", "--dry-run=server", "--namespace", &context.namespace, "-f", "-"];
        context.stage.cluster.kubectl_with_input(&arguments, &yaml)
    });
    let error = answer.err().context("a name of 53 characters was accepted")?;
    ensure!(format!("{error:#}").contains("at most 52 characters"), "{error:#}");
    Ok(Done::Passed)
}

pub async fn a_missing_secret_is_named_and_recovered_from(context: &Context) -> Result<Done> {
    context.serve("waiting", &format!("backend: {{builtin: {{}}}}\n{REDIS}"))?;
    let server = context
        .condition("waiting", "Accepted", |condition| {
            condition.status == "False" && condition.message.contains("mcp-secrets")
        })
        .await?;
    let status = server.status.unwrap_or_default();
    let reason = status.conditions.iter().find(|condition| condition.type_ == "Accepted").context("Accepted")?;
    let event = context.eventually("there is an event", async || {
        let messages = context.events("waiting", &reason.reason)?;
        Ok((!messages.is_empty()).then_some(messages))
    });
    ensure!(event.await?.contains("mcp-secrets"), "the event names the Secret");
    // Nothing but the Secret appears: nobody touches the server.
    context.redis()?;
    context.ready("waiting").await?;
    Ok(Done::Passed)
}

pub async fn an_unreachable_issuer_is_reported(context: &Context) -> Result<Done> {
    // A name that the cluster's DNS does not know.
    let issuers = "issuers: [{url: \"https://nobody.example.com\", serverUrl: \"https://nobody.invalid\"}]";
    let exposed = context.exposed_with_auth("user");
    let others: String =
        exposed.lines().filter(|line| !line.starts_with("auth:")).map(|line| format!("{line}\n")).collect();
    context.serve("lost", &format!("backend: {{builtin: {{}}}}\n{others}auth: {{{issuers}}}\n"))?;
    let server = context
        .condition("lost", "Ready", |condition| condition.status != "True" && condition.reason == "IssuerUnreachable")
        .await?;
    let status = server.status.unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").context("Ready")?;
    ensure!(ready.message.contains("nobody.example.com"), "the message names the issuer: {}", ready.message);
    ensure!(status.address.is_none(), "an address was published for a server that refuses everybody");
    Ok(Done::Passed)
}

/// The runtime as a person starts it: alone, with a file of their own.
pub async fn a_typo_in_a_configuration_file_ends_the_start(_: &Context) -> Result<Done> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, "formatVersion: 1\nserver:\n  name: mine\n  prot: 8000\n")?;
    for check in [true, false] {
        let mut command = Command::new(build::folder().join("mcp-server"));
        if check {
            command.arg("--check");
        }
        let output = block_in_place(|| command.arg("--config").arg(&file).output()).context("start mcp-server")?;
        let message = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(!output.status.success(), "it started with a typo in its file");
        for part in ["prot", "config.yaml", "line 4", "port"] {
            ensure!(message.contains(part), "{part:?} is not in the message: {message}");
        }
    }
    Ok(Done::Passed)
}
