//! Service `<name>`: the address inside the cluster.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_crds::{McpServerSpec, ServiceType};

use super::Identity;
use super::endpoint::{self, MANAGEMENT, MCP, SERVICE_MANAGEMENT_PORT};
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
    // What many gateways and meshes go by where the pods speak HTTPS.
    let by_tls = spec.tls.as_ref().map(|_| "https".to_owned());
    let app_protocol = spec.service.app_protocol.clone().or(by_tls);
    let mcp = ServicePort { app_protocol, ..port(MCP, endpoint::service_port(spec)) };
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
