//! NetworkPolicy `<name>`: the runtime's ports are reachable, nothing else; and the pods reach what their configuration
//! names, but never the cloud's metadata service.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_crds::McpServerSpec;
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
            egress: Some(egress(id, spec, settings)),
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

fn egress(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> Vec<NetworkPolicyEgressRule> {
    let between_pods =
        NetworkPolicyEgressRule { to: Some(vec![own_pods(id)]), ports: Some(vec![tcp(Ports::of(spec).management)]) };
    let given = &spec.network_policy.egress_to;
    let mut rules = if given.is_empty() { default_egress(id, spec, settings) } else { given.clone() };
    rules.push(between_pods);
    rules
}

fn default_egress(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> Vec<NetworkPolicyEgressRule> {
    let named = named_urls(spec);
    // To any address: node-local DNS caches are at link-local ones.
    let dns = NetworkPolicyEgressRule { to: None, ports: Some(vec![port("UDP", DNS), port("TCP", DNS)]) };
    // Its pods may listen at another port than their Service.
    let dns_pods = NetworkPolicyEgressRule { to: Some(dns_pods()), ports: None };
    let services = NetworkPolicyEgressRule {
        to: Some(anywhere_but_link_local()),
        ports: Some(service_ports(spec, &named).into_iter().map(tcp).collect()),
    };
    let namespaces: BTreeSet<_> = named.iter().filter_map(|(url, _)| namespace_of(url, id, settings)).collect();
    // Policies see the pod's port, not that of the Service in the URL, and which one that is only its owner knows.
    let inside = (!namespaces.is_empty()).then(|| NetworkPolicyEgressRule {
        to: Some(namespaces.into_iter().map(pods_of_namespace).collect()),
        ports: Some(vec![NetworkPolicyPort { protocol: Some("TCP".to_owned()), ..NetworkPolicyPort::default() }]),
    });
    [dns, dns_pods, services].into_iter().chain(inside).collect()
}

/// What the configuration names by a URL, and its port; those in Secrets are not read.
fn named_urls(spec: &McpServerSpec) -> Vec<(Url, i32)> {
    let issuers = spec.auth.iter().flat_map(|auth| &auth.issuers).flat_map(|issuer| {
        let asked = issuer.introspection.as_ref().and_then(|introspection| introspection.url.as_ref());
        [Some(&issuer.url), issuer.server_url.as_ref(), issuer.jwks_url.as_ref(), asked].into_iter().flatten()
    });
    let redis = spec.redis.as_deref();
    let sentinels = redis.and_then(|redis| redis.sentinel.as_ref()).into_iter().flat_map(|sentinel| &sentinel.urls);
    let cluster = redis.and_then(|redis| redis.cluster.as_ref()).into_iter().flat_map(|cluster| &cluster.urls);
    let collector = spec.observability.otlp.iter().map(|otlp| &otlp.endpoint);
    let by_scheme = issuers.chain(collector).map(|url| (url, HTTPS));
    let all = by_scheme.chain(sentinels.map(|url| (url, SENTINEL))).chain(cluster.map(|url| (url, REDIS)));
    all.filter_map(|(url, usual)| {
        let url = Url::parse(url).ok()?;
        let port = url.port_or_known_default().map_or(usual, i32::from);
        Some((url, port))
    })
    .collect()
}

/// HTTPS, and what the configuration names. The servers that sentinels and clusters name by themselves are at redis' port.
fn service_ports(spec: &McpServerSpec, named: &[(Url, i32)]) -> BTreeSet<i32> {
    let redis = spec.redis.as_ref().map(|_| REDIS);
    let database = spec.database.as_ref().map(|_| POSTGRESQL);
    std::iter::once(HTTPS).chain(named.iter().map(|(_, port)| *port)).chain(redis).chain(database).collect()
}

/// The namespace of a name that only the cluster knows: of `issuer.identity.svc`, `identity`.
fn namespace_of(url: &Url, id: &Identity, settings: &Settings) -> Option<String> {
    let name = url.domain()?.trim_end_matches('.');
    let domain = format!(".svc.{}", settings.cluster_domain);
    match name.strip_suffix(&domain).or_else(|| name.strip_suffix(".svc")) {
        Some(service) => service.rsplit('.').next().map(str::to_owned),
        None => (!name.contains('.') && name != "localhost").then(|| id.namespace.clone()),
    }
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

/// The label is that of kube-dns and CoreDNS wherever they run; OpenShift has a namespace for its own.
fn dns_pods() -> Vec<NetworkPolicyPeer> {
    let labels = BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]);
    let labelled = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }),
        ..NetworkPolicyPeer::default()
    };
    vec![labelled, pods_of_namespace("openshift-dns".to_owned())]
}

fn operator(settings: &Settings) -> Option<NetworkPolicyPeer> {
    settings.operator_namespace.clone().map(pods_of_namespace)
}

fn pods_of_namespace(namespace: String) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            // Set by the API server itself, so nobody can give it to another namespace.
            match_labels: Some(BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace)])),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    }
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
