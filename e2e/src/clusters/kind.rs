//! kind, for machines with Docker: the same cases on nodes that are containers, where NetworkPolicies have an effect.
//!
//! `docker`, `kind`, `kubectl` and `helm` must be installed. The ingress controller is the native cluster's, packed from
//! the same program. Its node is reached at the container's address, so Docker must run on this Linux machine itself.
//!
//! `MCP_E2E_KIND_IMAGE` chooses the node's image, and with it the version of Kubernetes; default: that of the installed kind.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::images::Image;
use super::kubectl;
use super::tools::Tools;

/// The node's image.
const IMAGE: &str = "MCP_E2E_KIND_IMAGE";
/// kind's own default, said so that it can be told to the product.
const POD_NETWORK: &str = "10.244.0.0/16";
const TRAEFIK: &str = include_str!("native/addons/traefik.yaml");

/// A kind cluster.
#[derive(Clone, Debug)]
pub struct Kind {
    name: String,
    kubeconfig: PathBuf,
    programs: Programs,
}

/// What is run.
#[derive(Clone, Debug)]
struct Programs {
    kind: PathBuf,
    docker: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        Self { kind: "kind".into(), docker: "docker".into() }
    }
}

impl Kind {
    /// Whether this machine can run it: kind is installed and Docker's daemon answers.
    pub fn is_possible() -> bool {
        Programs::default().check().is_ok()
    }

    /// The cluster `name`, started if need be, with its ingress controller.
    pub fn up(name: &str) -> Result<Self> {
        let cluster = Self::named(name, Programs::default(), &folder())?;
        cluster.programs.check()?;
        // Needed once the cluster is up: now it costs nothing yet to say so.
        run(Command::new("kubectl").args(["version", "--client"])).context("kind's clusters are used by kubectl")?;
        run(Command::new("helm").arg("version")).context("the operator is installed by helm")?;
        // The images are packed here, by buildah.
        Tools::of(&["packages"])?;
        cluster.create()?;
        cluster.prepare()?;
        Ok(cluster)
    }

    /// The cluster `name`, which must be running.
    pub fn attach(name: &str) -> Result<Self> {
        let cluster = Self::named(name, Programs::default(), &folder())?;
        ensure!(cluster.exists()?, "there is no kind cluster {}: start it with `e2e up --name {name}`", cluster.name);
        cluster.export()?;
        Ok(cluster)
    }

    /// Ends the cluster `name`. Fine when there is none.
    pub fn down(name: &str) -> Result<()> {
        Self::named(name, Programs::default(), &folder())?.delete()
    }

    fn named(name: &str, programs: Programs, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        // Others have kind clusters too.
        Ok(Self { name: format!("mcp-e2e-{name}"), kubeconfig, programs })
    }

    fn exists(&self) -> Result<bool> {
        let names = run(Command::new(&self.programs.kind).args(["get", "clusters"]))?;
        Ok(names.lines().any(|name| name == self.name))
    }

    fn create(&self) -> Result<()> {
        if self.exists()? {
            return self.export();
        }
        let config = self.kubeconfig.with_extension("kind.yaml");
        std::fs::write(&config, configuration()).with_context(|| format!("write {}", config.display()))?;
        let mut create = Command::new(&self.programs.kind);
        create.args(["create", "cluster", "--wait", "180s", "--name", &self.name]);
        create.arg("--kubeconfig").arg(&self.kubeconfig).arg("--config").arg(&config);
        if let Some(image) = std::env::var_os(IMAGE).filter(|image| !image.is_empty()) {
            create.arg("--image").arg(image);
        }
        run(&mut create).map(drop)
    }

    /// Writes its kubeconfig anew: it may have been made elsewhere.
    fn export(&self) -> Result<()> {
        let mut export = Command::new(&self.programs.kind);
        export.args(["export", "kubeconfig", "--name", &self.name]).arg("--kubeconfig").arg(&self.kubeconfig);
        run(&mut export).map(drop)
    }

    fn delete(&self) -> Result<()> {
        run(Command::new(&self.programs.kind).args(["delete", "cluster", "--name", &self.name]))?;
        for file in [self.kubeconfig.clone(), self.kubeconfig.with_extension("kind.yaml")] {
            if file.exists() {
                std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// The ingress controller on the node's ports, and a DNS that knows the cases' host names.
    fn prepare(&self) -> Result<()> {
        let node = self.node_address()?;
        let archive = self.kubeconfig.with_extension("traefik.image");
        let tools = Tools::of(&["traefik", "gateway-api"])?;
        Image::of_binary("localhost/traefik:dev", &tools.program("traefik", "traefik")?)?.pack(&archive)?;
        self.load_image(&archive)?;
        std::fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
        let kubectl = Path::new("kubectl");
        super::native::addons::gateway_api(&tools, kubectl, &self.kubeconfig)?;
        let manifest = TRAEFIK.replace("${NODE_ADDRESS}", &node.to_string());
        let apply = ["apply", "--server-side", "-f", "-"];
        kubectl::run_with_input(kubectl, &self.kubeconfig, &apply, &manifest)?;

        let get = ["-n", "kube-system", "get", "configmap", "coredns", "-o", "jsonpath={.data.Corefile}"];
        if let Some(corefile) = with_our_names(&kubectl::run(kubectl, &self.kubeconfig, &get)?, node) {
            let patch = json!({"data": {"Corefile": corefile}}).to_string();
            let patch = ["-n", "kube-system", "patch", "configmap", "coredns", "--type=merge", "-p", &patch];
            kubectl::run(kubectl, &self.kubeconfig, &patch)?;
            let restart = ["-n", "kube-system", "rollout", "restart", "deployment/coredns"];
            kubectl::run(kubectl, &self.kubeconfig, &restart)?;
        }
        for (namespace, deployment) in [("kube-system", "deployment/coredns"), ("ingress", "deployment/traefik")] {
            let wait = ["-n", namespace, "rollout", "status", deployment, "--timeout=180s"];
            kubectl::run(kubectl, &self.kubeconfig, &wait).with_context(|| format!("wait for {deployment}"))?;
        }
        Ok(())
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Loads an OCI archive.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let mut load = Command::new(&self.programs.kind);
        run(load.args(["load", "image-archive", "--name", &self.name]).arg(archive)).map(drop)
    }

    /// The node's address.
    pub fn node_address(&self) -> Result<IpAddr> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let addresses = run(Command::new(&self.programs.docker).args(["inspect", "-f", format, &self.node()]))?;
        let address = addresses.split_whitespace().find_map(|address| address.parse().ok());
        address.with_context(|| format!("container {} has no address: {addresses:?}", self.node()))
    }

    /// Where pods see the ingress controller's requests come from: it is on the node's network.
    pub fn ingress_networks(&self) -> Result<Vec<String>> {
        let node = self.node_address()?;
        let bits = if node.is_ipv4() { 32 } else { 128 };
        Ok(vec![POD_NETWORK.to_owned(), format!("{node}/{bits}")])
    }

    /// A command in the node's network.
    pub fn in_node_network(&self) -> Command {
        let mut command = Command::new(&self.programs.docker);
        command.args(["exec", "-i", &self.node()]);
        command
    }

    fn node(&self) -> String {
        format!("{}-control-plane", self.name)
    }
}

impl Programs {
    fn check(&self) -> Result<()> {
        run(Command::new(&self.kind).arg("version")).context("kind is needed: install it, and put it on the PATH")?;
        run(Command::new(&self.docker).args(["info", "--format", "{{.ServerVersion}}"]))
            .context("Docker's daemon is needed, and this user's right to speak to it")?;
        Ok(())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e/kind")
}

/// One node, as the native cluster has.
fn configuration() -> String {
    let configuration = json!({
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"podSubnet": POD_NETWORK},
        "nodes": [{"role": "control-plane"}],
    });
    format!("{configuration:#}\n")
}

/// The DNS server's configuration with the names below `mcp.test`, which lead to the ingress. `None`: it has them.
fn with_our_names(corefile: &str, node: IpAddr) -> Option<String> {
    if corefile.contains("mcp.test:53") {
        return None;
    }
    let kind = if node.is_ipv4() { "A" } else { "AAAA" };
    Some(format!(
        "{corefile}\nmcp.test:53 {{\n    errors\n    template IN {kind} {{\n        answer \"{{{{ .Name }}}} 60 IN {kind} {node}\"\n    }}\n    template ANY ANY {{\n        rcode NOERROR\n    }}\n}}\n"
    ))
}

fn run(command: &mut Command) -> Result<String> {
    let text = format!("{command:?}").replace('"', "");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {text}"))?;
    if !output.status.success() {
        bail!("{text}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[path = "kind_tests.rs"]
mod tests;
