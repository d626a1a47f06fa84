//! `make demo`: the product on a real cluster, from nothing to a tool call through the ingress, as a guided tour. Every
//! step may find its work done already: a second run takes seconds.

mod figures;
mod narrator;
mod servers;
mod tour;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::figures::Figures;
use self::narrator::Narrator;
use crate::clusters::{Cluster, Level};
use crate::product::{build, certificates, circumstances, fixtures, images, install, npm, repository};

/// Where everything of the demo lives in the cluster.
pub const NAMESPACE: &str = "demo";
/// The host of `examples/production.yaml`.
pub const HOST: &str = "mcp.example.com";
/// The host of its issuer.
pub const ISSUER_HOST: &str = "auth.example.com";

/// What the steps after the cluster's start share.
struct Demo {
    name: String,
    cluster: Cluster,
    ingress: IpAddr,
    /// Files for whoever goes on by hand: `target/demo`.
    folder: PathBuf,
}

/// Runs the demo on the cluster `name` and leaves everything running.
pub async fn run(name: &str) -> Result<()> {
    let started = Instant::now();
    let mut narrator = Narrator::new(9);
    let demo = match tokio::task::block_in_place(|| prepare(&mut narrator, name)) {
        Ok(demo) => demo,
        Err(error) => return Err(narrator.failed(error)),
    };
    let result = show(&mut narrator, &demo, started).await;
    result.map_err(|error| {
        let known = tokio::task::block_in_place(|| circumstances::of_namespace(&demo.cluster, NAMESPACE));
        narrator.failed(error.context(format!("what the cluster knows:{known}")))
    })
}

/// Steps 1 to 5: everything that a platform engineer does once.
fn prepare(narrator: &mut Narrator, name: &str) -> Result<Demo> {
    narrator.step("Compile operator, runtime and test issuer, and what the cluster is made of");
    narrator.command("cargo build --release --target …-linux-musl; e2e/kubernetes/build.sh node-level");
    build::binaries_and_tools()?;
    npm::install(&repository().join("e2e/client"))?;

    narrator.step("Start a one-node Kubernetes with an ingress controller");
    narrator.command(&format!("e2e up --name {name}"));
    let cluster = Cluster::up(name, Level::Node)?;
    let ingress = cluster.node_address()?;

    narrator.step("Build the images from the Dockerfiles and load them");
    let images = images::load(&cluster)?;
    for reference in [&images.operator, &images.server, &images.issuer, &images.redis] {
        narrator.detail(reference);
    }

    narrator.step("Install the operator");
    narrator.command(&format!(
        "helm upgrade --install {} charts/mcp-operator --namespace {}",
        install::RELEASE,
        install::NAMESPACE
    ));
    install::operator(&cluster, &images).map_err(|error| error.context(circumstances::of_operator(&cluster)))?;

    narrator
        .step("Make a namespace that admits only restricted pods, with redis, an authorization server, certificates");
    let folder = repository().canonicalize()?.join("target/demo");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    fixtures::namespace(&cluster, NAMESPACE)?;
    let ca = folder.join("ca.crt");
    certificates::ensure(&cluster, NAMESPACE, "mcp-tls", &[HOST, ISSUER_HOST], &ca)?;
    fixtures::redis(&cluster, NAMESPACE, &images)?;
    fixtures::issuer(&cluster, NAMESPACE, ISSUER_HOST, &images)?;
    fixtures::wait_for(&cluster, NAMESPACE, "redis")?;
    fixtures::wait_for(&cluster, NAMESPACE, "issuer")?;
    Ok(Demo { name: name.to_owned(), cluster, ingress, folder })
}

/// Steps 6 to 9: what a developer does, and what their users see.
async fn show(narrator: &mut Narrator, demo: &Demo, started: Instant) -> Result<()> {
    narrator.step("Apply two McpServers and wait until they are Ready");
    let ready = servers::apply(narrator, demo).await?;

    narrator.step("Let the official TypeScript SDK find its way from the URL alone");
    let called = tour::find_the_way(narrator, demo, started).await?;

    narrator.step("Delete a pod in the middle of a session");
    tour::lose_a_pod(narrator, demo).await?;

    narrator.step("Weigh it");
    let figures = Figures::take(demo, ready, called).await?;
    narrator.done();

    println!("{figures}");
    print_what_next(demo);
    Ok(())
}

fn print_what_next(demo: &Demo) {
    let Demo { name, cluster, ingress, folder } = demo;
    let down = if name == "demo" { "make down".to_owned() } else { format!("cargo run -p e2e -- down --name {name}") };
    let kubeconfig = cluster.kubeconfig();
    let (folder, kubeconfig) = (folder.display(), kubeconfig.display());
    println!(
        "\
URLs
  https://{HOST}/mcp    the production server, from outside (at {ingress})
  http://quickstart.{NAMESPACE}/mcp     the quickstart, for pods of the cluster

Go on
  export KUBECONFIG={kubeconfig}
  kubectl -n {NAMESPACE} get mcp
  kubectl -n {NAMESPACE} describe mcp production
  kubectl explain mcpserver.spec
  curl --cacert {folder}/ca.crt --resolve {HOST}:443:{ingress} https://{HOST}/health

Stop
  {down}"
    );
}

/// How long a step took, for people.
fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f32())
}
