//! What a cluster writes of a server whose pods become ready: pods, their status, the EndpointSlice, the Deployment's
//! status, and the Ingress' address. In that order, as a cluster does.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::rooms;
use crate::runtime::Runtime;
use crate::samples::Sample;

/// Servers at the same time.
const AT_ONCE: usize = 32;

/// Writes for one namespace.
pub struct Kubelet {
    pub client: Client,
    pub namespace: String,
    pub sample: Sample,
}

impl Kubelet {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Lets all pods of all servers become ready.
    pub async fn make_ready(&self, runtime: &Runtime) -> Result<()> {
        let deployments = self.api::<Deployment>().list(&ListParams::default()).await?.items;
        let mut first = 0;
        let mut work = Vec::new();
        for deployment in deployments {
            let replicas = replicas(&deployment);
            let addresses: Vec<_> = (first..first + replicas).map(rooms::pod).collect();
            first += replicas;
            work.push((deployment, addresses));
        }
        let digests = self.digests().await?;
        for (deployment, addresses) in &work {
            let digest = digests.get(&deployment.name_any()).context("a server has no live configuration")?;
            addresses.iter().for_each(|address| runtime.answer_for(*address, digest));
        }
        let each = work.iter().map(|(deployment, addresses)| self.one(deployment, addresses));
        stream::iter(each).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    /// The digest of each server's live file.
    async fn digests(&self) -> Result<std::collections::HashMap<String, String>> {
        let maps = self.api::<ConfigMap>().list(&ListParams::default()).await?.items;
        let live = maps.into_iter().filter_map(|map| {
            let server = map.name_any().strip_suffix("-live")?.to_owned();
            Some((server, mcp_server_config::digest(map.data?.get("live.yaml")?)))
        });
        Ok(live.collect())
    }

    async fn one(&self, deployment: &Deployment, addresses: &[Ipv4Addr]) -> Result<()> {
        let params = PostParams::default();
        for (index, address) in addresses.iter().enumerate() {
            let pod: Pod = serde_json::from_value(pod(deployment, index))?;
            self.api::<Pod>().create(&params, &pod).await.context("create a pod")?;
            let status = Patch::Merge(pod_status(*address));
            self.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &status).await?;
        }
        let slice: EndpointSlice = serde_json::from_value(slice(deployment, addresses))?;
        self.api::<EndpointSlice>().create(&params, &slice).await.context("create an EndpointSlice")?;
        self.observe(deployment).await?;
        if self.sample == Sample::Full {
            let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
            let ingresses = self.api::<Ingress>();
            ingresses.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(address)).await?;
        }
        Ok(())
    }

    /// Says of a Deployment that all its pods have the newest template.
    pub async fn observe(&self, deployment: &Deployment) -> Result<()> {
        let replicas = replicas(deployment);
        let status = json!({"status": {
            "observedGeneration": deployment.metadata.generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas,
        }});
        let deployments = self.api::<Deployment>();
        deployments.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// A change of the spec that rolls the pods, and the cluster's answer to it.
    pub async fn change(&self, server: &str, value: usize) -> Result<()> {
        let change = json!({"spec": {"pod": {"annotations": {"bench.example.com/change": value.to_string()}}}});
        let servers = self.api::<mcp_crds::McpServer>();
        servers.patch(server, &PatchParams::default(), &Patch::Merge(change)).await.context("change the spec")?;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let deployment = self.api::<Deployment>().get(server).await?;
        self.observe(&deployment).await
    }
}

fn replicas(deployment: &Deployment) -> usize {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or_default()
}

fn labels(deployment: &Deployment) -> Value {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    json!(template.and_then(|metadata| metadata.labels.clone()).unwrap_or_default())
}

fn pod(deployment: &Deployment, index: usize) -> Value {
    let name = deployment.name_any();
    json!({
        "metadata": {"name": format!("{name}-{index}"), "labels": labels(deployment)},
        "spec": {
            "serviceAccountName": name, "automountServiceAccountToken": false,
            "containers": [{"name": "mcp-server", "image": "mcp-server:bench"}],
        },
    })
}

fn pod_status(address: Ipv4Addr) -> Value {
    let now = "2026-01-01T00:00:00Z";
    json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        "containerStatuses": [{
            "name": "mcp-server", "image": "mcp-server:bench", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }],
    }})
}

fn slice(deployment: &Deployment, addresses: &[Ipv4Addr]) -> Value {
    let name = deployment.name_any();
    let mut labels = labels(deployment);
    labels["kubernetes.io/service-name"] = json!(name);
    let endpoints = addresses.iter().enumerate().map(|(index, address)| {
        json!({
            "addresses": [address], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": format!("{name}-{index}")},
        })
    });
    json!({
        "metadata": {"name": format!("{name}-slice"), "labels": labels},
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [
            {"name": "mcp", "port": crate::runtime::MCP, "protocol": "TCP"},
            {"name": "management", "port": crate::runtime::MANAGEMENT, "protocol": "TCP"},
        ],
    })
}
