//! Service `<name>`: the address inside the cluster.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_crds::{McpServerSpec, ServiceType};

use super::Identity;
use super::endpoint::{MANAGEMENT, MCP, SERVICE_MANAGEMENT_PORT, SERVICE_PORT};
use crate::exposure::Annotations;

/// The Service, with the annotations that the route's controller reads there. The user's are stronger.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec, profile: Annotations) -> Service {
    let mut metadata = id.meta(&id.name);
    let mut annotations = profile.service;
    annotations.extend(spec.service.annotations.clone());
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(spec.service.type_.as_str().to_owned()),
            selector: Some(id.selector_labels()),
            ports: Some(ports(spec)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Management stays inside: metrics and `/server` have no authentication, and a node port or load balancer would
/// publish every port of the Service.
fn ports(spec: &McpServerSpec) -> Vec<ServicePort> {
    let mcp = ServicePort { app_protocol: spec.service.app_protocol.clone(), ..port(MCP, SERVICE_PORT) };
    match spec.service.type_ {
        ServiceType::ClusterIP => vec![mcp, port(MANAGEMENT, SERVICE_MANAGEMENT_PORT)],
        ServiceType::NodePort | ServiceType::LoadBalancer => vec![mcp],
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
