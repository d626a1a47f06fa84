//! The finished CustomResourceDefinition.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::McpServer;

/// The `McpServer` definition as `crds/mcpservers.yaml` and the chart have it.
#[must_use]
pub fn mcpservers() -> CustomResourceDefinition {
    McpServer::crd()
}
