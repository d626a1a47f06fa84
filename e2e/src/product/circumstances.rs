//! What the cluster knows about a failure, for the error message: nobody should have to run seven commands first.

use std::fmt::Write as _;

use super::install;
use crate::clusters::Cluster;

/// Objects, events and logs of a namespace, and the operator's last words. What cannot be shown says why.
#[must_use]
pub fn of_namespace(cluster: &Cluster, namespace: &str) -> String {
    let sections: [(&str, &[&str]); 5] = [
        ("objects", &["get", "mcpservers,pods,services,ingresses", "-o", "wide"]),
        ("servers", &["describe", "mcpservers"]),
        ("events", &["get", "events", "--sort-by=.lastTimestamp"]),
        ("runtimes", &["logs", "-l", "app.kubernetes.io/name=mcp-server", "--all-containers", "--tail=25", "--prefix"]),
        ("pods", &["describe", "pods"]),
    ];
    let mut text = String::new();
    for (title, arguments) in sections {
        let arguments = [&["--namespace", namespace], arguments].concat();
        let _ = write!(text, "\n── {title} ──\n{}", tail(&show(cluster, &arguments), 60));
    }
    text + &of_operator(cluster)
}

/// The operator's pods and last log lines.
#[must_use]
pub fn of_operator(cluster: &Cluster) -> String {
    let pods = show(cluster, &["get", "pods", "--namespace", install::NAMESPACE, "-o", "wide"]);
    let release = format!("deployment/{}", install::RELEASE);
    let log = show(cluster, &["logs", &release, "--namespace", install::NAMESPACE, "--tail=40"]);
    format!("\n── operator ──\n{pods}{log}")
}

fn show(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}\n"))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
