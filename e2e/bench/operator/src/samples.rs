//! The two servers that are measured.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

/// One of the two.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The least that a server is.
    Minimal,
    /// One of a production installation.
    Full,
}

impl Sample {
    pub fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Full => "full",
        }
    }

    /// The resource of that name.
    pub fn server(self, name: &str) -> Result<Value> {
        let text = match self {
            Self::Minimal => include_str!("../minimal.yaml"),
            Self::Full => include_str!("../full.yaml"),
        };
        serde_saphyr::from_str(&text.replace("NAME", name)).context("read the sample")
    }

    /// Whether a caller without a token is refused.
    pub fn is_guarded(self) -> bool {
        self == Self::Full
    }
}

/// Name of the server with that number.
pub fn name(index: usize) -> String {
    format!("server-{index:05}")
}

/// A namespace with everything that the samples refer to.
pub async fn prepare(client: &Client, namespace: &str) -> Result<()> {
    let params = PostParams::default();
    let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
    Api::all(client.clone()).create(&params, &object).await.context("create the namespace")?;
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    for (name, key) in [("bench-env", "TOKEN"), ("bench-tls", "tls.crt"), ("bench-redis", "url")] {
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": {key: "value"}}))?;
        secrets.create(&params, &secret).await.context("create a Secret")?;
    }
    Ok(())
}

/// What the samples need of the cluster itself.
pub async fn prepare_cluster(client: &Client) -> Result<()> {
    let class: IngressClass = serde_json::from_value(json!({
        "metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}
    }))?;
    Api::all(client.clone()).create(&PostParams::default(), &class).await.context("create the IngressClass")?;
    Ok(())
}
