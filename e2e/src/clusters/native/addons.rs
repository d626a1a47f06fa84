//! What runs on the node as pods before any test: the cluster's DNS and an ingress controller. Their images are packed
//! from the binaries of `e2e/kubernetes`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::config::PAUSE_IMAGE;
use super::layout::Layout;
use crate::clusters::images::Image;
use crate::clusters::kubectl;
use crate::clusters::tools::Tools;

const MANIFESTS: [&str; 2] = [include_str!("addons/coredns.yaml"), include_str!("addons/traefik.yaml")];

/// Packs and loads the images of the node itself and of the add-ons.
pub fn load_images(layout: &Layout, tools: &Tools) -> Result<()> {
    let images = [(PAUSE_IMAGE, "pause"), ("localhost/coredns:dev", "coredns"), ("localhost/traefik:dev", "traefik")];
    for (reference, tool) in images {
        let archive = layout.path(&format!("{tool}.image"));
        Image::of_binary(reference, &tools.program(tool, tool)?)?.pack(&archive)?;
        load(layout, tools, &archive)?;
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
    }
    Ok(())
}

/// Loads an OCI archive into containerd, where the kubelet finds it.
pub fn load(layout: &Layout, tools: &Tools, archive: &Path) -> Result<()> {
    let output = Command::new(tools.program("containerd", "ctr")?)
        .arg("--address")
        .arg(layout.containerd_socket())
        .args(["--namespace=k8s.io", "images", "import", "--local"])
        .arg(archive)
        .output()
        .context("run ctr")?;
    if !output.status.success() {
        bail!("load the image {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Creates the add-ons' objects.
pub fn apply(layout: &Layout, tools: &Tools) -> Result<()> {
    let kubeconfig = layout.control_plane().kubeconfig();
    gateway_api(tools, &tools.kubectl()?, &kubeconfig)?;
    for manifest in MANIFESTS {
        let manifest = render(manifest, layout);
        let arguments = ["apply", "--server-side", "-f", "-"];
        kubectl::run_with_input(&tools.kubectl()?, &kubeconfig, &arguments, &manifest)?;
    }
    Ok(())
}

/// Upstream's definitions of the Gateway API.
pub fn gateway_api(tools: &Tools, kubectl: &Path, kubeconfig: &Path) -> Result<()> {
    let folder = tools.program("gateway-api", "")?;
    kubectl::run(kubectl, kubeconfig, &["apply", "--server-side", "-f", &folder.to_string_lossy()]).map(drop)
}

/// Waits for the add-ons' pods.
pub fn wait_until_ready(layout: &Layout, tools: &Tools) -> Result<()> {
    let kubeconfig = layout.control_plane().kubeconfig();
    for (namespace, deployment) in [("kube-system", "deployment/coredns"), ("ingress", "deployment/traefik")] {
        let arguments = ["-n", namespace, "rollout", "status", deployment, "--timeout=120s"];
        kubectl::run(&tools.kubectl()?, &kubeconfig, &arguments).with_context(|| {
            format!("wait for {deployment} in {namespace}; logs: {}", layout.path("logs").display())
        })?;
    }
    Ok(())
}

fn render(manifest: &str, layout: &Layout) -> String {
    manifest
        .replace("${NODE_ADDRESS}", &layout.node_address().to_string())
        .replace("${DNS_ADDRESS}", &layout.dns_service().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left_in_a_manifest() {
        let layout = Layout::of(Path::new("/data"), "demo", 0).unwrap();
        for manifest in MANIFESTS {
            assert!(!render(manifest, &layout).contains("${"));
        }
    }
}
