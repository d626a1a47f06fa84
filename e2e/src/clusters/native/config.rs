//! The configuration files of the node's agents, rendered from the layout. Pure: nothing is read or written here.

use std::path::Path;

use serde_json::{Value, json};

use super::layout::Layout;

/// Names of the images that the cluster itself needs; they are loaded, never pulled.
pub const PAUSE_IMAGE: &str = "localhost/pause:1";

/// The kubelet's configuration.
pub fn kubelet(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.node_address(),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.path("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.path("pki/kubelet.crt"),
        "tlsPrivateKeyFile": layout.path("pki/kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "clusterDomain": "cluster.local",
        "clusterDNS": [layout.dns_service()],
        "resolvConf": layout.path("resolv.conf"),
        "podLogsDir": layout.path("pod-logs"),
        "volumePluginDir": layout.path("kubelet-volume-plugins"),
        // Old container hosts have the first version of cgroups only, and it serves.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.cgroup()),
        "failSwapOn": false,
        // A developer's disk is fuller than a node's: neither evict pods nor delete images because of that. Deleted
        // images could not come back, there is no registry.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        // Mounted ConfigMaps and Secrets follow their objects within seconds instead of a minute.
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "4s",
        "maxPods": 200,
    })
}

/// kube-proxy's configuration. The connection tracking limits stay as they are: they belong to the host, and a network
/// namespace may only read them.
pub fn kube_proxy(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": layout.path("kube-proxy.kubeconfig")},
        "hostnameOverride": layout.node_name(),
        "mode": "iptables",
        "clusterCIDR": layout.pod_cidr(),
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

/// The pods' network. Point to point, not a bridge: all traffic is routed and so passes iptables. On a bridge, answers
/// between two pods of a Service would bypass it where the module br_netfilter is missing.
pub fn pod_network(layout: &Layout) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": layout.path("cni-addresses"),
                    "ranges": [[{"subnet": layout.pod_cidr()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// containerd's configuration: all of it below the cluster's folder, so that removing the folder removes it.
pub fn containerd(layout: &Layout, network_plugins: &Path, runc: &Path, snapshotter: &str) -> String {
    let folder = layout.path("containerd");
    let folder = folder.display();
    let socket = layout.containerd_socket();
    let socket = socket.display();
    format!(
        r#"version = 3
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  # Where we may not lower scores, as inside another container, containers could not start otherwise.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{conf}"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      Root = "{folder}/runc"
      SystemdCgroup = false
"#,
        plugins = network_plugins.display(),
        conf = layout.path("cni").display(),
        runc = runc.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::of(Path::new("/data"), "demo", 3).unwrap()
    }

    #[test]
    fn every_path_is_below_the_clusters_folder() {
        let rendered =
            [kubelet(&layout()), kube_proxy(&layout()), pod_network(&layout())].map(|v| v.to_string()).concat();
        let paths = rendered.split('"').filter(|text| text.starts_with('/') && !text.starts_with("/data/demo/"));
        assert_eq!(paths.collect::<Vec<_>>(), ["/mcp-e2e-demo"], "only the cgroup is outside");
    }

    #[test]
    fn containerd_keeps_to_the_folder_and_knows_runc_by_its_path() {
        let text = containerd(&layout(), Path::new("/usr/lib/cni"), Path::new("/cache/runc"), "overlayfs");
        assert!(text.contains(r#"root = "/data/demo/containerd/root""#));
        assert!(text.contains(r#"BinaryName = "/cache/runc""#));
        assert!(text.contains(r#"sandbox = "localhost/pause:1""#));
    }

    #[test]
    fn pods_ask_the_clusters_own_dns() {
        assert_eq!(kubelet(&layout())["clusterDNS"][0], "10.90.3.10");
    }
}
