//! Children as they are sent: JSON with the digest of its own content.

use std::fmt::Write as _;

use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cache::INTENT;
use crate::desired::{Children, keys};
use crate::error::Error;
use crate::kind::Kind;

/// One child as it is sent to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What is applied, the digest's annotation included.
    pub body: Value,
    /// Digest of the rest.
    pub digest: String,
}

/// What is written for one server.
#[derive(Clone, Debug)]
pub struct Manifests<'a> {
    /// Applied, in the order of their kinds.
    pub applied: Vec<Manifest>,
    /// Created once.
    pub keys: &'a keys::Template,
    /// Created once, and the hash of what it does.
    pub migrations: Option<(Manifest, &'a str)>,
}

impl<'a> Manifests<'a> {
    /// Renders every child.
    ///
    /// # Errors
    /// When a child cannot be written as JSON.
    pub fn of(children: &'a Children) -> Result<Self, Error> {
        let Children {
            service_account,
            boot_config,
            live_config,
            keys,
            certificate,
            network_policy,
            service,
            migrations,
            deployment,
            disruption_budget,
            autoscaler,
            ingress,
            http_route,
            service_monitor,
            rotate_keys: _,
            live_digest: _,
        } = children;
        let mut applied = vec![
            manifest(Kind::ConfigMap, boot_config)?,
            manifest(Kind::ConfigMap, live_config)?,
            manifest(Kind::Service, service)?,
            manifest(Kind::Deployment, deployment)?,
        ];
        applied.extend(service_account.as_ref().map(|child| manifest(Kind::ServiceAccount, child)).transpose()?);
        applied.extend(certificate.as_ref().map(|child| manifest(Kind::Certificate, child)).transpose()?);
        applied.extend(network_policy.as_ref().map(|child| manifest(Kind::NetworkPolicy, child)).transpose()?);
        applied.extend(ingress.as_ref().map(|child| manifest(Kind::Ingress, child)).transpose()?);
        applied.extend(disruption_budget.as_ref().map(|child| manifest(Kind::PodDisruptionBudget, child)).transpose()?);
        applied.extend(autoscaler.as_ref().map(|child| manifest(Kind::HorizontalPodAutoscaler, child)).transpose()?);
        applied.extend(http_route.as_ref().map(|child| manifest(Kind::HttpRoute, child)).transpose()?);
        applied.extend(service_monitor.as_ref().map(|child| manifest(Kind::ServiceMonitor, child)).transpose()?);
        // Deployment last: pods created before their ConfigMap would start once with the old configuration.
        applied.sort_by_key(|manifest| manifest.kind);
        let migrations = match migrations {
            Some((job, hash)) => Some((manifest(Kind::Job, job)?, hash.as_str())),
            None => None,
        };
        Ok(Self { applied, keys, migrations })
    }

    /// Whether a child of that kind and name is wanted.
    #[must_use]
    pub fn wants(&self, kind: Kind, name: &str) -> bool {
        let job = self.migrations.iter().map(|(job, _)| job);
        self.applied.iter().chain(job).any(|manifest| manifest.kind == kind && manifest.name == name)
    }
}

fn manifest<K: ResourceExt + Serialize>(kind: Kind, child: &K) -> Result<Manifest, Error> {
    let name = child.name_any();
    let render = |source| Error::Render { kind, name: name.clone(), source };
    let mut body = serde_json::to_value(child).map_err(render)?;
    let digest = digest(&body).map_err(render)?;
    if let Some(metadata) = body["metadata"].as_object_mut() {
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
        annotations[INTENT] = Value::String(digest.clone());
    }
    Ok(Manifest { kind, name, body, digest })
}

fn digest(body: &Value) -> Result<String, serde_json::Error> {
    let mut digest = String::new();
    // Half of it names one intent among the few that one child ever has.
    for byte in &Sha256::digest(serde_json::to_vec(body)?)[..16] {
        let _ = write!(digest, "{byte:02x}");
    }
    Ok(digest)
}
