//! Which Secrets, ConfigMaps and claims a spec refers to. Pure.
//!
//! Only whether the objects exist can be checked: of Secrets and ConfigMaps the operator sees the metadata, never the
//! content. A key that is missing inside an object shows when the pod starts.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use mcp_crds::{CaBundle, Container, KeyRef, McpServerSpec, Redis, RedisTls, Tls, Volume};

use crate::kind::Kind;

/// One referenced object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Secret, ConfigMap or claim.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The key inside it, where one is named.
    pub key: Option<String>,
    /// The field that names it.
    pub field: String,
    /// Whether the server waits for it.
    pub need: Need,
}

/// Whether a server waits for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The server cannot run without it.
    Required,
    /// `optional: true`.
    Optional,
    /// cert-manager will make it, for the route.
    Certificate,
    /// cert-manager will make it, for the pods.
    PodCertificate,
}

/// Every reference of a spec, in the order of its fields.
#[must_use]
pub fn of(spec: &McpServerSpec) -> Vec<Reference> {
    let mut found = Vec::new();
    if let Some(container) = &spec.backend.container {
        found.extend(container_references(container));
    }
    if let Some(tls) = spec.expose.as_ref().and_then(|expose| expose.tls.as_ref()) {
        let need = if tls.issuer_ref.is_some() { Need::Certificate } else { Need::Required };
        let secret = tls.secret_name.iter();
        found.extend(
            secret.map(|name| reference(Kind::Secret, name, Some("tls.crt"), "spec.expose.tls.secretName", need)),
        );
    }
    for (position, issuer) in spec.auth.iter().flat_map(|auth| &auth.issuers).enumerate() {
        let field = |name: &str| format!("spec.auth.issuers[{position}].{name}");
        found.extend(issuer.ca_bundle.iter().flat_map(|bundle| bundle_references(bundle, &field("caBundle"))));
        let client = issuer.introspection.as_ref().map(|introspection| &introspection.client_secret_ref);
        found.extend(client.map(|key| secret_key(key, &field("introspection.clientSecretRef"))));
    }
    found.extend(spec.tls.as_deref().into_iter().flat_map(tls_references));
    found.extend(spec.redis.as_deref().into_iter().flat_map(redis_references));
    if let Some(database) = &spec.database {
        found.push(secret_key(&database.url_secret_ref, "spec.database.urlSecretRef"));
        found.extend(
            database
                .migrations
                .iter()
                .flat_map(|migrations| environment("spec.database.migrations", &migrations.env, &migrations.env_from)),
        );
    }
    let headers = spec.observability.otlp.as_ref().and_then(|otlp| otlp.headers_secret_ref.as_ref());
    found.extend(headers.map(|key| secret_key(key, "spec.observability.otlp.headersSecretRef")));
    found.extend(spec.pod.volumes.iter().flat_map(volume_references));
    found.extend(spec.pod.image_pull_secrets.iter().map(|secret| {
        let field = format!("spec.pod.imagePullSecrets[{}]", secret.name);
        reference(Kind::Secret, &secret.name, None, &field, Need::Required)
    }));
    found
}

/// The references of the backend's environment.
#[must_use]
pub fn of_environment(spec: &McpServerSpec) -> Vec<Reference> {
    spec.backend.container.as_deref().into_iter().flat_map(container_references).collect()
}

fn container_references(container: &Container) -> Vec<Reference> {
    environment("spec.backend.container", &container.env, &container.env_from)
}

/// Of the container that `field` describes.
fn environment(field: &str, env: &[EnvVar], env_from: &[EnvFromSource]) -> Vec<Reference> {
    let variables = env.iter().filter_map(|variable| env_reference(field, variable));
    let sources = env_from.iter().enumerate();
    variables.chain(sources.flat_map(|(position, source)| env_from_references(field, position, source))).collect()
}

fn env_reference(field: &str, variable: &EnvVar) -> Option<Reference> {
    let source = variable.value_from.as_ref()?;
    let field = format!("{field}.env[{}]", variable.name);
    let secret = source.secret_key_ref.as_ref().map(|r| (Kind::Secret, &r.name, &r.key, r.optional));
    let (kind, name, key, optional) = secret
        .or_else(|| source.config_map_key_ref.as_ref().map(|r| (Kind::ConfigMap, &r.name, &r.key, r.optional)))?;
    Some(reference(kind, name, Some(key), &field, need(optional)))
}

fn env_from_references(field: &str, position: usize, source: &EnvFromSource) -> Vec<Reference> {
    let field = format!("{field}.envFrom[{position}]");
    let secret = source.secret_ref.iter().map(|r| reference(Kind::Secret, &r.name, None, &field, need(r.optional)));
    let map = source.config_map_ref.iter().map(|r| reference(Kind::ConfigMap, &r.name, None, &field, need(r.optional)));
    secret.chain(map).collect()
}

fn bundle_references(bundle: &CaBundle, field: &str) -> Vec<Reference> {
    let map = bundle.config_map_key_ref.iter().map(|key| key_reference(Kind::ConfigMap, key, field));
    let secret = bundle.secret_key_ref.iter().map(|key| secret_key(key, field));
    map.chain(secret).collect()
}

fn tls_references(tls: &Tls) -> Vec<Reference> {
    let need = if tls.issuer_ref.is_some() { Need::PodCertificate } else { Need::Required };
    let mut found = vec![reference(Kind::Secret, &tls.secret_name, Some("tls.crt"), "spec.tls.secretName", need)];
    found.extend(tls.ca_bundle.iter().flat_map(|bundle| bundle_references(bundle, "spec.tls.caBundle")));
    found.extend(tls.client_ca.iter().flat_map(|bundle| bundle_references(bundle, "spec.tls.clientCa")));
    found
}

fn redis_references(redis: &Redis) -> Vec<Reference> {
    let sentinel = redis.sentinel.as_ref().and_then(|sentinel| sentinel.password_secret_ref.as_ref());
    let keys = [
        (redis.url_secret_ref.as_ref(), "spec.redis.urlSecretRef"),
        (redis.password_secret_ref.as_ref(), "spec.redis.passwordSecretRef"),
        (sentinel, "spec.redis.sentinel.passwordSecretRef"),
    ];
    let mut found: Vec<_> = keys.into_iter().filter_map(|(key, field)| key.map(|key| secret_key(key, field))).collect();
    if let Some(RedisTls { ca_bundle, client_secret_name }) = &redis.tls {
        found.extend(ca_bundle.iter().flat_map(|bundle| bundle_references(bundle, "spec.redis.tls.caBundle")));
        let client = client_secret_name.iter();
        found.extend(client.map(|name| {
            let field = "spec.redis.tls.clientSecretName";
            reference(Kind::Secret, name, Some("tls.crt"), field, Need::Required)
        }));
    }
    found
}

fn secret_key(key: &KeyRef, field: &str) -> Reference {
    key_reference(Kind::Secret, key, field)
}

fn volume_references(volume: &Volume) -> Vec<Reference> {
    let field = format!("spec.pod.volumes[{}]", volume.name);
    let mut found = Vec::new();
    if let Some(map) = &volume.config_map {
        found.push(reference(Kind::ConfigMap, &map.name, None, &field, need(map.optional)));
    }
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        found.push(reference(Kind::Secret, name, None, &field, need(secret.optional)));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        found.push(reference(Kind::PersistentVolumeClaim, &claim.claim_name, None, &field, Need::Required));
    }
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        if let Some(map) = &source.config_map {
            found.push(reference(Kind::ConfigMap, &map.name, None, &field, need(map.optional)));
        }
        if let Some(secret) = &source.secret {
            found.push(reference(Kind::Secret, &secret.name, None, &field, need(secret.optional)));
        }
    }
    found
}

fn key_reference(kind: Kind, key: &KeyRef, field: &str) -> Reference {
    reference(kind, &key.name, Some(&key.key), field, Need::Required)
}

fn reference(kind: Kind, name: &str, key: Option<&str>, field: &str, need: Need) -> Reference {
    Reference { kind, name: name.to_owned(), key: key.map(str::to_owned), field: field.to_owned(), need }
}

fn need(optional: Option<bool>) -> Need {
    if optional == Some(true) { Need::Optional } else { Need::Required }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(spec: Value) -> Vec<(Kind, String, Need)> {
        let spec: McpServerSpec = serde_json::from_value(spec).unwrap();
        of(&spec).into_iter().map(|reference| (reference.kind, reference.name, reference.need)).collect()
    }

    #[test]
    fn every_place_that_can_name_an_object_is_read() {
        let spec = json!({
            "backend": {"container": {
                "image": "x",
                "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "k"}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "env-map", "key": "k", "optional": true}}},
                    {"name": "C", "value": "plain"}
                ],
                "envFrom": [{"secretRef": {"name": "from-secret"}}, {"configMapRef": {"name": "from-map", "optional": true}}]
            }},
            "expose": {"hosts": ["a.example"], "tls": {"secretName": "tls"}},
            "auth": {"issuers": [{
                "url": "https://i", "caBundle": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}},
                "introspection": {"clientId": "c", "clientSecretRef": {"name": "client", "key": "secret"}}
            }]},
            "tls": {
                "secretName": "pod-tls", "caBundle": {"configMapKeyRef": {"name": "pod-ca", "key": "k"}},
                "clientCa": {"secretKeyRef": {"name": "clients-ca", "key": "k"}}
            },
            "redis": {
                "sentinel": {"master": "m", "urls": ["rediss://a"], "passwordSecretRef": {"name": "sentinel", "key": "k"}},
                "passwordSecretRef": {"name": "redis", "key": "k"},
                "tls": {"caBundle": {"secretKeyRef": {"name": "redis-ca", "key": "k"}}, "clientSecretName": "redis-client"}
            },
            "database": {
                "urlSecretRef": {"name": "database", "key": "url"},
                "migrations": {"envFrom": [{"secretRef": {"name": "migrations"}}]}
            },
            "observability": {"otlp": {"endpoint": "http://c", "headersSecretRef": {"name": "otlp", "key": "k"}}},
            "pod": {"volumes": [
                {"name": "v1", "configMap": {"name": "vol-map"}},
                {"name": "v2", "secret": {"secretName": "vol-secret", "optional": true}},
                {"name": "v3", "projected": {"sources": [{"secret": {"name": "proj-secret"}}, {"configMap": {"name": "proj-map"}}]}},
                {"name": "v4", "emptyDir": {}},
                {"name": "v5", "persistentVolumeClaim": {"claimName": "claim"}}
            ], "imagePullSecrets": [{"name": "registry"}]}
        });
        let expected = [
            (Kind::Secret, "env-secret", Need::Required),
            (Kind::ConfigMap, "env-map", Need::Optional),
            (Kind::Secret, "from-secret", Need::Required),
            (Kind::ConfigMap, "from-map", Need::Optional),
            (Kind::Secret, "tls", Need::Required),
            (Kind::ConfigMap, "ca", Need::Required),
            (Kind::Secret, "client", Need::Required),
            (Kind::Secret, "pod-tls", Need::Required),
            (Kind::ConfigMap, "pod-ca", Need::Required),
            (Kind::Secret, "clients-ca", Need::Required),
            (Kind::Secret, "redis", Need::Required),
            (Kind::Secret, "sentinel", Need::Required),
            (Kind::Secret, "redis-ca", Need::Required),
            (Kind::Secret, "redis-client", Need::Required),
            (Kind::Secret, "database", Need::Required),
            (Kind::Secret, "migrations", Need::Required),
            (Kind::Secret, "otlp", Need::Required),
            (Kind::ConfigMap, "vol-map", Need::Required),
            (Kind::Secret, "vol-secret", Need::Optional),
            (Kind::Secret, "proj-secret", Need::Required),
            (Kind::ConfigMap, "proj-map", Need::Required),
            (Kind::PersistentVolumeClaim, "claim", Need::Required),
            (Kind::Secret, "registry", Need::Required),
        ];
        assert_eq!(found(spec), expected.map(|(kind, name, need)| (kind, name.to_owned(), need)));
    }

    #[test]
    fn a_certificate_that_cert_manager_makes_may_be_absent() {
        let spec = json!({
            "backend": {"builtin": {}},
            "expose": {"hosts": ["a.example"], "tls": {"secretName": "tls", "issuerRef": {"name": "ca"}}}
        });
        assert_eq!(found(spec), [(Kind::Secret, "tls".to_owned(), Need::Certificate)]);
        let spec = json!({"backend": {"builtin": {}}, "tls": {"secretName": "tls", "issuerRef": {"name": "ca"}}});
        assert_eq!(found(spec), [(Kind::Secret, "tls".to_owned(), Need::PodCertificate)]);
    }
}
