//! One promise each, and what several of them need.

mod children;
mod failures;
mod migrations;
mod ownership;
mod process;
mod references;
mod replay;
mod threats;
mod versions;
mod webhook;

use crate::stage::{Scope, Space, Stage, eventually};
use anyhow::{Context, Result, ensure};
use e2e::clusters::tools::Tools;
use e2e::product::install::NAMESPACE as OPERATOR;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::ResourceExt;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective,
};
use mcp_crds::McpServer;
use mcp_operator::gateway::HttpRoute;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

pub use children::*;
pub use failures::*;
pub use migrations::*;
pub use ownership::*;
pub use process::*;
pub use references::*;
pub use replay::*;
pub use threats::*;
pub use versions::*;
pub use webhook::*;

/// Where the cases play: the chart is told before the operator starts.
#[rustfmt::skip]
pub const NAMESPACES: &[&str] = &[
    "added", "adoption", "autoscaled", "badimage", "boot", "budget", "cascade", "children", "class",
    "conditions", "contested", "defined", "deleted", "deletions", "drift", "edited", "elsewhere", "flapping", "foreign",
    "gateway", "keys", "label", "labels", "migrations", "missing", "new-keys", "newer", "older", "optional",
    "orphans", "policy", "profile", "quota", "rapid", "rotation", "route", "suspended", "takeover", "trouble",
    "twin-one", "twin-other", "unwanted", "wait", "webhook",
];

pub(crate) fn builtin() -> Value {
    json!({"backend": {"builtin": {}}})
}

/// An operator of single namespaces may not look the class up.
pub(crate) fn exposed(stage: &Stage) -> Value {
    let ingress = match stage.scope {
        Scope::Cluster => json!({"className": "nginx"}),
        Scope::Namespaces => json!({"className": "nginx", "profile": "ingress-nginx"}),
    };
    json!({
        "backend": {"builtin": {}},
        "auth": {"anonymous": "Allow"},
        "expose": {"hosts": ["a.example"], "ingress": ingress}
    })
}

pub(crate) fn with_redis() -> Value {
    json!({"backend": {"builtin": {}}, "redis": {"urlSecretRef": {"name": "late", "key": "url"}}})
}

pub(crate) async fn secret(space: &Space, name: &str) -> Result<()> {
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": name}, "stringData": {"url": "redis://x"}}))?;
    space.api::<Secret>().create(&PostParams::default(), &secret).await?;
    Ok(())
}

pub(crate) async fn class(stage: &Stage) -> Result<()> {
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}
    });
    let api = Api::<IngressClass>::all(stage.client.clone());
    api.patch("nginx", &PatchParams::apply("test"), &Patch::Apply(class)).await?;
    Ok(())
}

pub(crate) async fn merge<K>(space: &Space, name: &str, patch: Value) -> Result<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    Ok(space.api::<K>().patch(name, &params, &Patch::Merge(patch)).await?)
}
