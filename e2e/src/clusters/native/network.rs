//! The node's network: a namespace of its own, joined to the host by one link. Nothing of the host's own network is
//! touched; the routes to the cluster go away with the link.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::layout::Layout;
use crate::clusters::processes::{self, Process};

/// Makes the namespace, the link, and the host's routes to pods and Services.
pub fn create(layout: &Layout) -> Result<()> {
    let (namespace, host, node) = (&layout.namespace(), &layout.host_link(), &layout.node_link());
    let node_address = layout.node_address().to_string();
    ip(&["netns", "add", namespace])?;
    ip(&["link", "add", host, "type", "veth", "peer", "name", node, "netns", namespace])?;
    ip(&["address", "add", &format!("{}/24", layout.host_address()), "dev", host])?;
    for address in layout.client_addresses() {
        ip(&["address", "add", &format!("{address}/32"), "dev", host])?;
    }
    ip(&["link", "set", host, "up"])?;
    ip(&["-n", namespace, "link", "set", "lo", "up"])?;
    ip(&["-n", namespace, "address", "add", &format!("{node_address}/24"), "dev", node])?;
    ip(&["-n", namespace, "link", "set", node, "up"])?;
    // The API server and the kubelet look for a default route to find out their own address.
    ip(&["-n", namespace, "route", "add", "default", "via", &layout.host_address().to_string()])?;
    let client = layout.client_addresses()[0].to_string();
    ip(&["route", "add", &format!("{node_address}/32"), "dev", host, "src", &client])?;
    for network in [layout.pod_cidr(), layout.service_cidr()] {
        ip(&["route", "add", &network, "via", &node_address, "dev", host, "src", &client])?;
    }
    // The files below /proc/sys/net are those of the network namespace of whoever opens them.
    run(in_namespace(layout).args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))
}

/// Removes the namespace and with it the link, its routes and the iptables rules inside. Fine when there is none.
pub fn remove(layout: &Layout) -> Result<()> {
    if exists(layout) {
        // The link by its end inside: by number alone it could be another cluster's, when our record was lost. It would
        // also go by itself, but only some time after the namespace.
        let _ = ip(&["-n", &layout.namespace(), "link", "delete", &layout.node_link()]);
        ip(&["netns", "delete", &layout.namespace()])?;
    }
    // `ip netns add` mounts its folder on itself and never unmounts it.
    let folder = Path::new("/run/netns");
    if std::fs::read_dir(folder).is_ok_and(|mut names| names.next().is_none()) {
        let _ = Command::new("umount").arg(folder).stderr(std::process::Stdio::null()).status();
    }
    Ok(())
}

/// Whether the namespace is there.
pub fn exists(layout: &Layout) -> bool {
    file(layout).exists()
}

/// Every process on the node's network: the agents, and pods with the host's network.
pub fn processes(layout: &Layout) -> Vec<Process> {
    processes::find_by_network("on the node's network", &file(layout))
}

fn file(layout: &Layout) -> PathBuf {
    Path::new("/run/netns").join(layout.namespace())
}

/// The start of a command that runs in the node's network.
pub fn in_namespace(layout: &Layout) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/var/run/netns/{}", layout.namespace()));
    command
}

/// Numbers whose link exists on this machine, whoever made it.
pub fn numbers_in_use() -> Vec<u8> {
    let Ok(links) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    links.flatten().filter_map(|link| number_of(link.file_name().to_str()?)).collect()
}

fn number_of(link: &str) -> Option<u8> {
    link.strip_prefix("mcpe2e")?.strip_suffix('h')?.parse().ok()
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn a_links_name_tells_its_number() {
        assert_eq!(number_of("mcpe2e17h"), Some(17));
        assert_eq!(number_of("mcpe2e17n"), None);
        assert_eq!(number_of("eth0"), None);
    }
}
