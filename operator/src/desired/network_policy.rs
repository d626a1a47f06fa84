//! NetworkPolicy `<name>`: the runtime's ports are reachable, nothing else; and the pods reach what their configuration
//! names, but never the cloud's metadata service.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_crds::{McpServerSpec, Redis};
use url::Url;

use super::Identity;
use super::endpoint::Ports;
use crate::settings::Settings;

const DNS: i32 = 53;
const HTTPS: i32 = 443;
/// Ports are inside of Secrets that are not read: servers with another one say so in `egressTo`.
const REDIS: i32 = 6379;
const SENTINEL: i32 = 26379;
const POSTGRESQL: i32 = 5432;

/// `None` when switched off.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> Option<NetworkPolicy> {
    spec.network_policy.enabled.then(|| NetworkPolicy {
        metadata: id.meta(&id.name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(id, spec)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![to_mcp(spec, settings), to_management(id, spec, settings)]),
            egress: Some(egress(id, spec)),
        }),
    })
}

/// With the pods of migrations, which connect to the database too.
fn selector(id: &Identity, spec: &McpServerSpec) -> LabelSelector {
    let mut labels = id.selector_labels();
    if spec.database.as_ref().is_some_and(|database| database.migrations.is_some()) {
        labels.remove("app.kubernetes.io/name");
    }
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

/// Open, unless the server or the installation names who may come. The operator verifies through this port.
fn to_mcp(spec: &McpServerSpec, settings: &Settings) -> NetworkPolicyIngressRule {
    let named = match spec.network_policy.ingress_from.as_slice() {
        [] => settings.mcp_from.as_slice(),
        given => given,
    };
    let from = (!named.is_empty()).then(|| named.iter().cloned().chain(operator(settings)).collect());
    NetworkPolicyIngressRule { from, ports: Some(vec![tcp(Ports::of(spec).mcp)]) }
}

/// The server's own pods forward sessions to each other.
fn to_management(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> NetworkPolicyIngressRule {
    let peers = std::iter::once(own_pods(id)).chain(operator(settings)).chain(settings.metrics_from.iter().cloned());
    NetworkPolicyIngressRule { from: Some(peers.collect()), ports: Some(vec![tcp(Ports::of(spec).management)]) }
}

fn egress(id: &Identity, spec: &McpServerSpec) -> Vec<NetworkPolicyEgressRule> {
    let between_pods =
        NetworkPolicyEgressRule { to: Some(vec![own_pods(id)]), ports: Some(vec![tcp(Ports::of(spec).management)]) };
    let given = &spec.network_policy.egress_to;
    let mut rules = if given.is_empty() { default_egress(spec) } else { given.clone() };
    rules.push(between_pods);
    rules
}

fn default_egress(spec: &McpServerSpec) -> Vec<NetworkPolicyEgressRule> {
    // To any address: node-local DNS caches are at link-local ones.
    let dns = NetworkPolicyEgressRule { to: None, ports: Some(vec![port("UDP", DNS), port("TCP", DNS)]) };
    let services = NetworkPolicyEgressRule {
        to: Some(anywhere_but_link_local()),
        ports: Some(service_ports(spec).into_iter().map(tcp).collect()),
    };
    vec![dns, services]
}

/// HTTPS, and what the configuration names.
fn service_ports(spec: &McpServerSpec) -> BTreeSet<i32> {
    let issuers = spec.auth.iter().flat_map(|auth| &auth.issuers);
    let urls = issuers.flat_map(|issuer| {
        let asked = issuer.introspection.as_ref().and_then(|introspection| introspection.url.as_ref());
        [Some(&issuer.url), issuer.server_url.as_ref(), issuer.jwks_url.as_ref(), asked].into_iter().flatten()
    });
    let urls = urls.chain(spec.observability.otlp.iter().map(|otlp| &otlp.endpoint));
    let named = urls.filter_map(|url| Url::parse(url).ok()?.port_or_known_default()).map(i32::from);
    let database = spec.database.as_ref().map(|_| POSTGRESQL);
    std::iter::once(HTTPS)
        .chain(named)
        .chain(spec.redis.as_deref().into_iter().flat_map(redis_ports))
        .chain(database)
        .collect()
}

/// The servers that sentinels and clusters name by themselves are at the usual port.
fn redis_ports(redis: &Redis) -> BTreeSet<i32> {
    let ports = |urls: &[String], default: i32| {
        let port = |url: &String| Some(Url::parse(url).ok()?.port().map_or(default, i32::from));
        urls.iter().filter_map(port).collect::<Vec<_>>()
    };
    let sentinels = redis.sentinel.iter().flat_map(|sentinel| ports(&sentinel.urls, SENTINEL));
    let cluster = redis.cluster.iter().flat_map(|cluster| ports(&cluster.urls, REDIS));
    std::iter::once(REDIS).chain(sentinels).chain(cluster).collect()
}

/// Where clouds hand out a node's credentials to whoever asks: 169.254.169.254 and fd00:ec2::254.
fn anywhere_but_link_local() -> Vec<NetworkPolicyPeer> {
    let any_pod =
        NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    let block = |cidr: &str, except: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: Some(except.iter().map(|network| (*network).to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    vec![any_pod, block("0.0.0.0/0", &["169.254.0.0/16"]), block("::/0", &["fe80::/10", "fd00:ec2::254/128"])]
}

fn operator(settings: &Settings) -> Option<NetworkPolicyPeer> {
    settings.operator_namespace.as_ref().map(|namespace| NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            // Set by the API server itself, so nobody can give it to another namespace.
            match_labels: Some(BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.clone())])),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    })
}

fn own_pods(id: &Identity) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(id.selector()), ..NetworkPolicyPeer::default() }
}

fn tcp(number: i32) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { protocol: Some(protocol.to_owned()), port: Some(IntOrString::Int(number)), end_port: None }
}
