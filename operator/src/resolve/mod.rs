//! Looks up what a spec refers to. IO in: from the cache, but for the content of an environment.

pub mod authorities;
pub mod environment;
pub mod references;

use std::collections::BTreeSet;

use mcp_crds::{IngressProfile, McpServer};

use crate::cache::{Cache, ChildStatus, Index, Key, Scope};
use crate::desired::Resolved;
use crate::error::Error;
use crate::kind::Kind;
use references::{Need, Reference};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// What shapes the children.
    pub resolved: Resolved,
    /// Required objects that do not exist, each with the field that names it.
    pub missing: Vec<String>,
    /// The Secret of the route's certificate that cert-manager has not made yet.
    pub pending_certificate: Option<String>,
    /// That of the pods' own certificate.
    pub pending_pod_certificate: Option<String>,
}

impl Resolution {
    /// # Errors
    /// When required objects are missing.
    pub fn complete(&self) -> Result<(), Error> {
        if self.missing.is_empty() { Ok(()) } else { Err(Error::Missing(self.missing.clone())) }
    }
}

/// Looks up everything that `server` refers to.
///
/// # Errors
/// When the ingress profile cannot be found out with the permissions of this operator.
pub fn resolve(server: &McpServer, key: &Key, cache: &Cache, scope: &Scope) -> Result<Resolution, Error> {
    let mut found = Resolution::default();
    for reference in references::of(&server.spec) {
        let unseen = scope.without_secrets && reference.kind == Kind::Secret;
        if unseen || exists(cache, &key.namespace, &reference) {
            continue;
        }
        match reference.need {
            Need::Required => found.missing.push(missing_object(&reference)),
            Need::Certificate => found.pending_certificate = Some(reference.name),
            Need::PodCertificate => found.pending_pod_certificate = Some(reference.name),
            Need::Optional => {}
        }
    }
    if let Some(class) = missing_class(server, cache, scope) {
        found.missing.push(class);
    }
    found.missing.extend(missing_apis(server, cache));
    found.missing.sort();
    found.missing.dedup();
    found.resolved = Resolved {
        ingress_controller: controller(server, cache, scope)?,
        shared_hosts: shared_hosts(server, key, cache),
        shared_claims: shared_claims(server, key, cache),
        replicas: autoscaled_replicas(server, key, cache),
        ..Resolved::default()
    };
    Ok(found)
}

fn exists(cache: &Cache, namespace: &str, reference: &Reference) -> bool {
    cache.children(reference.kind).get(&Key::new(namespace, &reference.name)).is_some()
}

fn missing_object(reference: &Reference) -> String {
    let Reference { kind, name, key, field, .. } = reference;
    let wanted = key.as_ref().map(|key| format!(" with key {key}")).unwrap_or_default();
    format!("{kind} {name} does not exist: create it{wanted} ({field})")
}

/// Kinds that the spec asks for and this cluster does not have. They are looked for from then on.
fn missing_apis(server: &McpServer, cache: &Cache) -> Vec<String> {
    let spec = &server.spec;
    let gateway = spec.expose.as_ref().is_some_and(|expose| expose.gateway.is_some());
    let monitor = spec.observability.metrics.service_monitor.is_some();
    let issuer = spec.tls.as_ref().is_some_and(|tls| tls.issuer_ref.is_some());
    let asked = [
        (issuer, Kind::Certificate, "cert-manager", "spec.tls.issuerRef"),
        (gateway, Kind::HttpRoute, "the Gateway API", "spec.expose.gateway"),
        (monitor, Kind::ServiceMonitor, "the Prometheus operator", "spec.observability.metrics.serviceMonitor"),
    ];
    let missing = asked.into_iter().filter(|(asked, kind, ..)| *asked && !cache.apis.serves(*kind));
    missing
        .map(|(_, kind, product, field)| {
            cache.apis.want(kind);
            let api = kind.resource().api_version;
            format!("{kind} ({api}) is not known to this cluster: install {product}, or remove {field}")
        })
        .collect()
}

fn class_name(server: &McpServer) -> Option<&str> {
    server.spec.expose.as_ref()?.ingress.class_name.as_deref()
}

fn missing_class(server: &McpServer, cache: &Cache, scope: &Scope) -> Option<String> {
    let name = class_name(server)?;
    let known = !scope.is_cluster() || cache.classes.get(&Key::new("", name)).is_some();
    (!known).then(|| {
        format!("IngressClass {name} does not exist: create it or name another (spec.expose.ingress.className)")
    })
}

fn controller(server: &McpServer, cache: &Cache, scope: &Scope) -> Result<Option<String>, Error> {
    let Some(expose) = &server.spec.expose else { return Ok(None) };
    if expose.gateway.is_some() && expose.ingress.class_name.is_none() {
        return Ok(None);
    }
    if !scope.is_cluster() {
        // Roles of single namespaces cannot give access to IngressClasses.
        return if expose.ingress.profile == IngressProfile::Auto { Err(Error::ProfileRequired) } else { Ok(None) };
    }
    let class = match &expose.ingress.class_name {
        Some(name) => cache.classes.get(&Key::new("", name)),
        None => cache.classes.all().into_iter().filter(|class| class.default).min_by(|a, b| a.name.cmp(&b.name)),
    };
    Ok(class.map(|class| class.controller.clone()))
}

fn autoscaled_replicas(server: &McpServer, key: &Key, cache: &Cache) -> Option<i32> {
    let autoscaling = server.spec.autoscaling.as_ref()?;
    let deployment = cache.children(Kind::Deployment).get(key);
    let wanted = deployment.and_then(|deployment| deployment.rollout().map(|rollout| rollout.wanted));
    Some(wanted.unwrap_or(autoscaling.min_replicas))
}

fn shared_claims(server: &McpServer, key: &Key, cache: &Cache) -> BTreeSet<String> {
    let claims = server.spec.pod.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let is_shared = |name: &&String| {
        let claim = cache.children(Kind::PersistentVolumeClaim).get(&Key::new(&key.namespace, *name));
        claim.is_some_and(|claim| claim.status == ChildStatus::Shared(true))
    };
    claims.map(|claim| &claim.claim_name).filter(is_shared).cloned().collect()
}

fn shared_hosts(server: &McpServer, key: &Key, cache: &Cache) -> BTreeSet<String> {
    let hosts = server.spec.expose.iter().flat_map(|expose| &expose.hosts);
    hosts.filter(|host| is_shared(host, key, cache)).cloned().collect()
}

fn is_shared(host: &str, key: &Key, cache: &Cache) -> bool {
    let others = cache.servers.find(&Index::Host(Key::new(&key.namespace, host)));
    others.iter().any(|other| {
        let Ok(object) = &other.object else { return false };
        crate::cache::Entry::key(other.as_ref()) != *key && object.metadata.deletion_timestamp.is_none()
    })
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use k8s_openapi::api::networking::v1::IngressClass;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::*;
    use crate::cache::{Child, ClassView, Guard, Server};

    fn server(name: &str, spec: Value) -> McpServer {
        serde_json::from_value(json!({
            "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": name, "namespace": "ns", "resourceVersion": "1"}, "spec": spec
        }))
        .unwrap()
    }

    fn secret(name: &str) -> Child {
        let metadata =
            ObjectMeta { name: Some(name.to_owned()), namespace: Some("ns".to_owned()), ..ObjectMeta::default() };
        Child::of(Kind::Secret, metadata)
    }

    fn with_redis() -> McpServer {
        server(
            "demo",
            json!({"backend": {"builtin": {}}, "redis": {"urlSecretRef": {"name": "s", "key": "redis-url"}}}),
        )
    }

    fn exposed(name: &str) -> McpServer {
        server(
            name,
            json!({"backend": {"builtin": {}}, "expose": {"hosts": ["a.example"], "ingress": {"className": "nginx"}}}),
        )
    }

    fn found(server: &McpServer, cache: &Cache, scope: &Scope) -> Result<Resolution, Error> {
        resolve(server, &Key::new("ns", server.metadata.name.clone().unwrap()), cache, scope)
    }

    #[test]
    fn a_missing_secret_is_named_with_its_key_and_field() {
        let cache = Cache::default();
        let missing = found(&with_redis(), &cache, &Scope::default()).unwrap().missing;
        assert_eq!(missing, ["Secret s does not exist: create it with key redis-url (spec.redis.urlSecretRef)"]);
        let blind = Scope { without_secrets: true, ..Scope::default() };
        assert!(found(&with_redis(), &cache, &blind).unwrap().missing.is_empty(), "nothing is known of Secrets");
        cache.children(Kind::Secret).put(secret("s"));
        assert!(found(&with_redis(), &cache, &Scope::default()).unwrap().missing.is_empty());
    }

    #[test]
    fn the_controller_is_that_of_the_named_class() {
        let cache = Cache::default();
        let missing = found(&exposed("a"), &cache, &Scope::default()).unwrap().missing;
        assert_eq!(missing.len(), 1, "{missing:?}");
        let class: IngressClass = serde_json::from_value(json!({
            "metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}
        }))
        .unwrap();
        cache.classes.put(ClassView::of(class));
        let resolution = found(&exposed("a"), &cache, &Scope::default()).unwrap();
        assert!(resolution.missing.is_empty());
        assert_eq!(resolution.resolved.ingress_controller.as_deref(), Some("k8s.io/ingress-nginx"));
    }

    #[test]
    fn an_api_that_the_cluster_lacks_is_named_and_looked_for() {
        let cache = Cache::default();
        let route = server(
            "a",
            json!({"backend": {"builtin": {}}, "expose": {"hosts": ["a.example"], "gateway": {"parentRefs": [{"name": "g"}]}}}),
        );
        let missing = found(&route, &cache, &Scope::default()).unwrap().missing;
        assert_eq!(
            missing,
            [
                "HTTPRoute (gateway.networking.k8s.io/v1) is not known to this cluster: install the Gateway API, or remove spec.expose.gateway"
            ]
        );
        assert!(cache.apis.is_wanted(Kind::HttpRoute) && !cache.apis.is_wanted(Kind::ServiceMonitor));
        let tls =
            server("a", json!({"backend": {"builtin": {}}, "tls": {"secretName": "s", "issuerRef": {"name": "i"}}}));
        let resolution = found(&tls, &cache, &Scope::default()).unwrap();
        assert_eq!(
            resolution.missing,
            [
                "Certificate (cert-manager.io/v1) is not known to this cluster: install cert-manager, or remove spec.tls.issuerRef"
            ]
        );
        assert_eq!(resolution.pending_pod_certificate.as_deref(), Some("s"), "it makes the Secret");
        cache.apis.serve(Kind::HttpRoute);
        assert!(found(&route, &cache, &Scope::default()).unwrap().missing.is_empty());
        let one = Scope { namespaces: vec!["ns".to_owned()], ..Scope::default() };
        assert!(found(&route, &cache, &one).is_ok(), "no Ingress, so no profile");
    }

    #[test]
    fn a_claim_must_exist_and_says_who_may_write_to_it() {
        let cache = Cache::default();
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
        let mounting = server("demo", json!({"backend": {"builtin": {}}, "pod": {"volumes": [volume]}}));
        let missing = found(&mounting, &cache, &Scope::default()).unwrap().missing;
        assert_eq!(missing, ["PersistentVolumeClaim data does not exist: create it (spec.pod.volumes[data])"]);
        let claim = |version: &str, mode: &str| {
            let metadata = json!({"name": "data", "namespace": "ns", "resourceVersion": version});
            let claim = json!({"metadata": metadata, "spec": {"accessModes": [mode]}});
            cache.children(Kind::PersistentVolumeClaim).put(Child::of_claim(serde_json::from_value(claim).unwrap()));
            found(&mounting, &cache, &Scope::default()).unwrap().resolved.shared_claims
        };
        assert!(claim("1", "ReadWriteOnce").is_empty());
        assert_eq!(claim("2", "ReadWriteMany"), BTreeSet::from(["data".to_owned()]));
    }

    #[test]
    fn an_operator_of_single_namespaces_asks_for_the_profile() {
        let scope = Scope { namespaces: vec!["ns".to_owned()], ..Scope::default() };
        let error = found(&exposed("a"), &Cache::default(), &scope).unwrap_err();
        assert!(matches!(error, Error::ProfileRequired));
    }

    #[test]
    fn a_host_of_two_servers_is_shared() {
        let cache = Cache::default();
        cache.servers.put(Server::of(Guard(Ok(exposed("a").into()))));
        assert!(shared_hosts(&exposed("a"), &Key::new("ns", "a"), &cache).is_empty());
        cache.servers.put(Server::of(Guard(Ok(exposed("b").into()))));
        assert_eq!(shared_hosts(&exposed("a"), &Key::new("ns", "a"), &cache), BTreeSet::from(["a.example".to_owned()]));
    }
}
