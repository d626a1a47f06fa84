//! etcd, API server, controller manager and scheduler: what each is started with. Both the API level and the native
//! cluster run it; they differ in the addresses alone.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::certificates::{Authority, Client};
use super::processes::{Lifetime, Process, Start};
use super::tools::Tools;
use super::{kubectl, wait};

/// The API server, as others see it that it passes requests on to.
const FRONT_PROXY: &str = "front-proxy-client";

/// Where a control plane lives and listens.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// Everything that it writes goes below.
    pub folder: PathBuf,
    /// The network namespace that it runs in, if not the host's.
    pub namespace: Option<String>,
    /// How long its processes may run.
    pub lifetime: Lifetime,
    /// Where the API server listens and is reached.
    pub address: Ipv4Addr,
    /// What the API server tells pods to be its address; loopback is refused by it.
    pub advertised: Ipv4Addr,
    /// The ports to listen on.
    pub ports: Ports,
    /// The addresses of Services, `a.b.c.0/24`.
    pub service_cidr: String,
    /// The address of the Service `default/kubernetes`: the first of `service_cidr`.
    pub api_service: Ipv4Addr,
    /// The addresses of pods.
    pub pod_cidr: String,
}

/// The ports of a control plane.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Of the API server.
    pub api: u16,
    /// Of etcd, for the API server.
    pub etcd: u16,
    /// Of etcd, for other members (there are none).
    pub etcd_peer: u16,
    /// Of the controller manager's own endpoints.
    pub controller_manager: u16,
    /// Of the scheduler's own endpoints.
    pub scheduler: u16,
}

impl ControlPlane {
    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// One JSON line for each request that the API server answered.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// Writes certificates, kubeconfigs and the audit policy.
    pub fn prepare(&self) -> Result<Authority> {
        std::fs::create_dir_all(self.folder.join("logs")).context("create the folder for logs")?;
        let authority = Authority::create(&self.pki())?;
        authority.key_pair("service-accounts")?;
        // By it other API servers (metrics-server) know ours. One of its own: of the clients' authority, any client
        // certificate would be believed to be the aggregation proxy's.
        let front = Authority::create(&self.pki().join("front-proxy"))?;
        front.client(&Client { name: FRONT_PROXY, group: None })?;
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let names = [&names[..], &["kubernetes.default.svc.cluster.local"]].concat();
        let addresses: [IpAddr; 3] = [self.address.into(), self.api_service.into(), Ipv4Addr::LOCALHOST.into()];
        authority.server("kube-apiserver", &names, &addresses)?;
        authority.client(&Client { name: "kubelet-client", group: Some("system:masters") })?;
        let users = [
            ("admin", Some("system:masters"), "admin"),
            ("system:kube-controller-manager", None, "controller-manager"),
            ("system:kube-scheduler", None, "scheduler"),
        ];
        for (name, group, file) in users {
            let path = self.folder.join(file).with_extension("kubeconfig");
            authority.kubeconfig(&Client { name, group }, &self.url(), &path)?;
        }
        let policy = serde_json::to_string_pretty(&audit_policy())?;
        std::fs::write(self.folder.join("audit-policy.json"), policy).context("write the audit policy")?;
        Ok(authority)
    }

    /// Starts etcd and the API server. They need no order: the API server waits for etcd.
    pub fn start_storage_and_api(&self, tools: &Tools) -> Result<Vec<Process>> {
        Ok(vec![
            self.start(tools, "etcd", &self.etcd_arguments())?,
            self.start(tools, "kube-apiserver", &self.api_server_arguments())?,
        ])
    }

    /// Starts the controller manager, which also collects garbage and makes pods of Deployments.
    pub fn start_controller_manager(&self, tools: &Tools) -> Result<Process> {
        self.start(tools, "kube-controller-manager", &self.controller_manager_arguments())
    }

    /// Starts the scheduler.
    pub fn start_scheduler(&self, tools: &Tools) -> Result<Process> {
        self.start(tools, "kube-scheduler", &self.scheduler_arguments())
    }

    /// Starts a part of Kubernetes, or etcd.
    pub fn start(&self, tools: &Tools, part: &str, arguments: &[String]) -> Result<Process> {
        let log = self.folder.join("logs").join(format!("{part}.log"));
        let arguments = [&[part.to_owned()], arguments].concat();
        Process::spawn(&Start {
            name: part,
            namespace: self.namespace.as_deref(),
            lifetime: self.lifetime,
            program: &tools.part(part)?,
            arguments: &arguments,
            log: &log,
        })
    }

    /// Waits until the API server is ready; fails early when a process ended.
    pub fn wait_until_ready(&self, tools: &Tools, processes: &[Process]) -> Result<()> {
        let kubectl = tools.kubectl()?;
        wait("the API server to be ready", Duration::from_secs(90), || {
            ensure_alive(processes, &self.folder)?;
            Ok(kubectl::run(&kubectl, &self.kubeconfig(), &["get", "--raw", "/readyz"]).is_ok())
        })
    }

    /// Everything that its processes are told. It changes when this code does.
    pub fn configuration(&self) -> String {
        let arguments = [
            self.etcd_arguments(),
            self.api_server_arguments(),
            self.controller_manager_arguments(),
            self.scheduler_arguments(),
        ];
        format!("{}\n{}", arguments.concat().join("\n"), audit_policy())
    }

    fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.ports.api)
    }

    fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    fn pki_file(&self, name: &str) -> String {
        self.pki().join(name).display().to_string()
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        vec![
            format!("--data-dir={}", self.file("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // The data need not survive a power cut, and syncing it takes most of etcd's time.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ]
    }

    fn api_server_arguments(&self) -> Vec<String> {
        vec![
            format!("--bind-address={}", self.address),
            format!("--advertise-address={}", self.advertised),
            format!("--secure-port={}", self.ports.api),
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            format!("--service-cluster-ip-range={}", self.service_cidr),
            format!("--client-ca-file={}", self.pki_file("ca.crt")),
            format!("--tls-cert-file={}", self.pki_file("kube-apiserver.crt")),
            format!("--tls-private-key-file={}", self.pki_file("kube-apiserver.key")),
            format!("--kubelet-certificate-authority={}", self.pki_file("ca.crt")),
            format!("--kubelet-client-certificate={}", self.pki_file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", self.pki_file("kubelet-client.key")),
            // Otherwise `kubectl logs` looks the node's name up in a DNS that does not know it.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--requestheader-client-ca-file={}", self.pki_file("front-proxy/ca.crt")),
            format!("--requestheader-allowed-names={FRONT_PROXY}"),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            format!("--proxy-client-cert-file={}", self.pki_file(&format!("front-proxy/{FRONT_PROXY}.crt"))),
            format!("--proxy-client-key-file={}", self.pki_file(&format!("front-proxy/{FRONT_PROXY}.key"))),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--service-account-key-file={}", self.pki_file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", self.pki_file("service-accounts.key")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--audit-policy-file={}", self.file("audit-policy.json")),
            format!("--audit-log-path={}", self.audit_log().display()),
            // Tests count lines: a rotation in the middle would lose some.
            "--audit-log-maxsize=2048".to_owned(),
        ]
    }

    fn controller_manager_arguments(&self) -> Vec<String> {
        let kubeconfig = self.file("controller-manager.kubeconfig");
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.controller_manager),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            format!("--root-ca-file={}", self.pki_file("ca.crt")),
            format!("--service-account-private-key-file={}", self.pki_file("service-accounts.key")),
            format!("--cluster-signing-cert-file={}", self.pki_file("ca.crt")),
            format!("--cluster-signing-key-file={}", self.pki_file("ca.key")),
            format!("--cluster-cidr={}", self.pod_cidr),
            format!("--service-cluster-ip-range={}", self.service_cidr),
            "--allocate-node-cidrs=false".to_owned(),
        ]
    }

    fn scheduler_arguments(&self) -> Vec<String> {
        let kubeconfig = self.file("scheduler.kubeconfig");
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.scheduler),
            "--leader-elect=false".to_owned(),
        ]
    }
}

/// Fails, naming the log, when one of `processes` has ended.
pub fn ensure_alive(processes: &[Process], folder: &Path) -> Result<()> {
    let Some(dead) = processes.iter().find(|process| !process.is_alive()) else { return Ok(()) };
    let log = folder.join("logs").join(format!("{}.log", dead.name));
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(8)..].join("\n");
    anyhow::bail!("{} ended; the end of {}:\n{last}", dead.name, log.display())
}

/// Who asked for what, for every request, once: tests count requests by user agent.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    })
}
