//! Where everything of a native cluster is, as a pure function of its name and its number: folders, addresses, network
//! namespace, links, cgroup. Two clusters share none of it, so that `make demo` and `make test` can run side by side.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::clusters::control_plane::{ControlPlane, Ports};
use crate::clusters::processes::Lifetime;

/// The places of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The cluster's name.
    pub name: String,
    /// The number that its addresses are made from.
    pub number: u8,
    /// Everything on disk is below this folder.
    pub folder: PathBuf,
}

impl Layout {
    /// The layout of the cluster `name` under the data folder `root`.
    pub fn of(root: &Path, name: &str, number: u8) -> Result<Self> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), number, folder: root.join(name) })
    }

    /// A path below the cluster's folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    /// The network namespace that the node lives in.
    pub fn namespace(&self) -> String {
        format!("mcp-e2e-{}", self.name)
    }

    /// The host's end of the link to the node. Names of links have at most 15 characters.
    pub fn host_link(&self) -> String {
        format!("mcpe2e{}h", self.number)
    }

    /// The node's end of the link.
    pub fn node_link(&self) -> String {
        format!("mcpe2e{}n", self.number)
    }

    /// The cgroup that the kubelet makes its pods' cgroups in, so that two kubelets do not tidy up each other's.
    pub fn cgroup(&self) -> String {
        format!("mcp-e2e-{}", self.name)
    }

    /// The node's name in Kubernetes.
    pub fn node_name(&self) -> String {
        format!("{}-node", self.name)
    }

    /// The node's address: of the API server, of the ingress controller's ports and of node ports.
    pub fn node_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 88, self.number, 1)
    }

    /// The host's address on the link.
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 88, self.number, 254)
    }

    /// More addresses of the host, for clients: several, so that one machine can be several clients behind the ingress,
    /// and outside of 10.0.0.0/8, which people trust as their proxies' network.
    pub fn client_addresses(&self) -> [Ipv4Addr; 3] {
        [1, 2, 3].map(|last| Ipv4Addr::new(172, 30, self.number, last))
    }

    /// The addresses of pods.
    pub fn pod_cidr(&self) -> String {
        format!("10.89.{}.0/24", self.number)
    }

    /// The addresses of Services.
    pub fn service_cidr(&self) -> String {
        format!("10.90.{}.0/24", self.number)
    }

    /// The Service address of the API server.
    pub fn api_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, self.number, 1)
    }

    /// The Service address of the cluster's DNS.
    pub fn dns_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, self.number, 10)
    }

    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.path("containerd/containerd.sock")
    }

    /// The control plane of this cluster. Its own network namespace lets it use the customary ports.
    pub fn control_plane(&self) -> ControlPlane {
        ControlPlane {
            folder: self.folder.clone(),
            namespace: Some(self.namespace()),
            lifetime: Lifetime::Detached,
            address: self.node_address(),
            advertised: self.node_address(),
            ports: Ports { api: 6443, etcd: 2379, etcd_peer: 2380, controller_manager: 10257, scheduler: 10259 },
            service_cidr: self.service_cidr(),
            api_service: self.api_service(),
            pod_cidr: self.pod_cidr(),
        }
    }
}

/// A name ends up in host names, in the names of links, and in the paths of sockets, which must stay short.
pub fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if name.is_empty() || name.len() > 20 || !letters || name.starts_with('-') || name.ends_with('-') {
        bail!("'{name}' cannot name a cluster: use 1 to 20 lower-case letters, digits and inner dashes");
    }
    Ok(())
}

/// The lowest number that no other cluster has.
pub fn free_number(taken: &[u8]) -> Result<u8> {
    match (0..=u8::MAX).find(|number| !taken.contains(number)) {
        Some(number) => Ok(number),
        None => bail!("256 clusters run already: end some with `e2e down --name NAME`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_with_different_numbers_share_no_address() {
        let layouts = [0, 1].map(|n| Layout::of(Path::new("/data"), "demo", n).unwrap());
        let addresses = layouts.map(|l| {
            let addresses = [l.node_address(), l.host_address(), l.dns_service(), l.client_addresses()[0]];
            let names = [l.pod_cidr(), l.service_cidr(), l.host_link()].into_iter();
            names.chain(addresses.map(|address| address.to_string())).collect::<Vec<_>>()
        });
        assert!(addresses[0].iter().all(|address| !addresses[1].contains(address)));
    }

    #[test]
    fn the_lowest_free_number_is_taken() {
        assert_eq!(free_number(&[]).unwrap(), 0);
        assert_eq!(free_number(&[0, 1, 3]).unwrap(), 2);
        assert!(free_number(&(0..=255).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn links_keep_within_fifteen_characters() {
        let layout = Layout::of(Path::new("/data"), "demo", 255).unwrap();
        assert!(layout.host_link().len() <= 15 && layout.node_link().len() <= 15);
    }

    #[test]
    fn sockets_keep_within_the_kernels_limit() {
        let layout = Layout::of(Path::new("/var/lib/mcp-operator-e2e"), &"x".repeat(20), 0).unwrap();
        assert!(layout.containerd_socket().as_os_str().len() + ".ttrpc".len() < 108);
    }

    #[test]
    fn names_that_cannot_be_a_host_name_are_refused() {
        for name in ["", "Demo", "-x", "x-", "a b", "a/b", &"x".repeat(21)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
