//! Numbers at the end: what it weighs and how long it took.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::servers::Ready;
use super::{Demo, NAMESPACE, seconds};
use crate::product::{images, install};

/// The demo in numbers.
pub struct Figures {
    lines: Vec<(String, String)>,
}

impl Figures {
    /// Asks the kubelet for the memory of operator and runtimes, and the disk for the images.
    pub async fn take(demo: &Demo, ready: Ready, called: Duration) -> Result<Self> {
        let mut lines = Vec::new();
        let Ready { quickstart, production } = ready;
        for (what, took) in [("quickstart", quickstart), ("production (3 replicas)", production)] {
            let took = took.map_or_else(|| "was Ready before".to_owned(), seconds);
            lines.push((format!("kubectl apply to Ready, {what}"), took));
        }
        lines.push(("start of the demo to the first tool call".to_owned(), seconds(called)));
        for (name, bytes) in images::archived(&["mcp-operator", "mcp-server"])? {
            lines.push((format!("image {name}"), mebibytes(bytes)));
        }
        for (what, bytes) in memory(demo).await? {
            lines.push((format!("resident memory, {what}"), mebibytes(bytes)));
        }
        Ok(Self { lines })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Figures")?;
        for (what, value) in &self.lines {
            writeln!(formatter, "  {what:<52} {value:>12}")?;
        }
        Ok(())
    }
}

/// Resident memory of the containers of operator and servers, as the kubelet measures it.
async fn memory(demo: &Demo) -> Result<Vec<(String, u64)>> {
    let client = demo.cluster.client().await?;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let mut found = Vec::new();
    for name in nodes.into_iter().filter_map(|node| node.metadata.name) {
        let uri = format!("/api/v1/nodes/{name}/proxy/stats/summary");
        let summary: Value =
            client.request(http::Request::get(uri).body(Vec::new())?).await.context("node statistics")?;
        for pod in summary["pods"].as_array().into_iter().flatten() {
            let namespace = pod["podRef"]["namespace"].as_str().unwrap_or_default();
            let pod_name = pod["podRef"]["name"].as_str().unwrap_or_default();
            for container in pod["containers"].as_array().into_iter().flatten() {
                let ours = match container["name"].as_str() {
                    Some("mcp-server") => namespace == NAMESPACE,
                    Some(_) => namespace == install::NAMESPACE,
                    None => false,
                };
                if let Some(bytes) = container["memory"]["rssBytes"].as_u64().filter(|_| ours) {
                    found.push((pod_name.to_owned(), bytes));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}
