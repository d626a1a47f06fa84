//! With programs in the places of kind and docker that write down what they are told and keep the clusters in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

struct Machine(TempDir);

impl Machine {
    /// `docker_info`: what asking the daemon comes to.
    fn with(docker_info: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let here = machine.0.path().display();
        machine.program(
            "kind",
            &format!(
                r#"echo "kind $*" >> {here}/log
case "$1 $2" in
  "get clusters") cat {here}/clusters 2>/dev/null; true ;;
  "create cluster") echo mcp-e2e-demo >> {here}/clusters ;;
  "delete cluster") rm -f {here}/clusters ;;
esac"#
            ),
        );
        machine.program(
            "docker",
            &format!(
                r#"echo "docker $*" >> {here}/log
case "$1" in
  info) {docker_info} ;;
  inspect) echo "172.18.0.2 " ;;
esac"#
            ),
        );
        machine
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn programs(&self) -> Programs {
        Programs { kind: self.0.path().join("kind"), docker: self.0.path().join("docker") }
    }

    fn cluster(&self) -> Kind {
        Kind::named("demo", self.programs(), &self.0.path().join("files")).unwrap()
    }

    /// What was asked since the last look.
    fn asked(&self) -> Vec<String> {
        let log = self.0.path().join("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        text.lines().map(|line| line.replace(&self.0.path().display().to_string(), "")).collect()
    }
}

#[test]
fn a_cluster_is_created_once_and_found_again() {
    let machine = Machine::with("true");
    let cluster = machine.cluster();
    cluster.create().unwrap();
    let created = "kind create cluster --wait 180s --name mcp-e2e-demo --kubeconfig /files/demo.kubeconfig --config /files/demo.kind.yaml";
    assert_eq!(machine.asked(), ["kind get clusters", created]);
    let config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(machine.0.path().join("files/demo.kind.yaml")).unwrap()).unwrap();
    assert_eq!(config["networking"]["podSubnet"], POD_NETWORK);
    machine.cluster().create().unwrap();
    let exported = "kind export kubeconfig --name mcp-e2e-demo --kubeconfig /files/demo.kubeconfig";
    assert_eq!(machine.asked(), ["kind get clusters", exported]);
    cluster.delete().unwrap();
    assert!(!cluster.exists().unwrap());
    assert!(fs::read_dir(machine.0.path().join("files")).unwrap().next().is_none(), "files are left");
}

#[test]
fn images_go_to_its_node_whose_address_is_docker_s_word() {
    let machine = Machine::with("true");
    let cluster = machine.cluster();
    cluster.load_image(Path::new("/images/a.tar")).unwrap();
    assert_eq!(machine.asked(), ["kind load image-archive --name mcp-e2e-demo /images/a.tar"]);
    assert_eq!(cluster.node_address().unwrap(), IpAddr::from([172, 18, 0, 2]));
    assert_eq!(cluster.ingress_networks().unwrap(), ["10.244.0.0/16", "172.18.0.2/32"]);
    assert!(format!("{:?}", cluster.in_node_network()).contains("\"exec\" \"-i\" \"mcp-e2e-demo-control-plane\""));
}

#[test]
fn what_is_missing_is_named() {
    let silent = Machine::with("echo 'Cannot connect to the Docker daemon' >&2; exit 1");
    let error = format!("{:#}", silent.programs().check().unwrap_err());
    assert!(error.starts_with("Docker's daemon is needed") && error.ends_with("Cannot connect to the Docker daemon"));
    let nothing = Programs { kind: "/nowhere/kind".into(), docker: "/nowhere/docker".into() };
    assert!(format!("{:#}", nothing.check().unwrap_err()).starts_with("kind is needed"));
}

#[test]
fn the_cases_names_are_added_to_its_dns_once() {
    let node = IpAddr::from([172, 18, 0, 2]);
    let corefile = with_our_names(".:53 {\n    ready\n}\n", node).unwrap();
    assert!(corefile.starts_with(".:53 {") && corefile.contains("answer \"{{ .Name }} 60 IN A 172.18.0.2\""));
    assert_eq!(with_our_names(&corefile, node), None);
    assert!(!TRAEFIK.replace("${NODE_ADDRESS}", "172.18.0.2").contains("${"));
}
