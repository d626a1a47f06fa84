//! Writes the children, then removes what is no longer wanted. A child that is as it should be costs no request.
//!
//! ```text
//! for each child, what pods need first:  guard (is it ours?) → compare (is it as applied?) → apply
//! then                                   prune what is ours and not wanted
//! ```

mod compare;
mod handover;
mod keys;
mod manifest;
mod migrations;
mod prune;
pub mod rotation;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::info;

pub use compare::{Difference, compare, guard};
pub use manifest::{Manifest, Manifests};

use crate::cache::{Child, Key};
use crate::context::Context;
use crate::desired::identity::MANAGER;
use crate::desired::{Children, Identity, keys as desired_keys};
use crate::error::{Error, code};
use crate::kind::Kind;
use crate::memory::CONTEST_LIMIT;

/// A version that no object has: etcd's first write is the second. Who applies it asks for a new object, and is refused
/// with 409 where there is one; to look before would be another request, and less safe.
const NO_VERSION: &str = "1";

/// Whether pods may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// By those that are wanted now.
    Replace,
    /// They stay as they are; what somebody else changed is still repaired.
    Keep,
}

/// Brings every child of one server to what is wanted.
///
/// # Errors
/// The first child that could not be written. Those that pods do not need do not keep the others from being written.
pub async fn apply(children: &Children, id: &Identity, pods: Pods, ctx: &Context) -> Result<(), Error> {
    let manifests = Manifests::of(children)?;
    let server = Key::new(&id.namespace, &id.name);
    let writer = Writer { ctx, id, server: &server, pods };
    let mut first = None;
    for kind in Kind::ALL {
        if kind == Kind::Secret {
            keys::ensure(&writer, manifests.keys, children.rotate_keys.as_deref()).await?;
        }
        if let (Kind::Job, Some((job, hash))) = (kind, &manifests.migrations) {
            migrations::ensure(&writer, job, hash).await?;
        }
        for manifest in manifests.applied.iter().filter(|manifest| manifest.kind == kind) {
            match writer.put(manifest).await {
                Err(error) if !is_needed_by_pods(kind) => first = first.or(Some(error)),
                written => written?,
            }
        }
    }
    if let Some(error) = first {
        return Err(error);
    }
    prune::prune(&writer, &manifests).await?;
    contest(&writer)
}

/// Pods that start without it would start wrong, or not at all.
fn is_needed_by_pods(kind: Kind) -> bool {
    match kind {
        Kind::ServiceAccount
        | Kind::ConfigMap
        | Kind::Secret
        | Kind::PersistentVolumeClaim
        | Kind::Certificate
        | Kind::NetworkPolicy
        | Kind::Job
        | Kind::Deployment => true,
        Kind::Service
        | Kind::PodDisruptionBudget
        | Kind::HorizontalPodAutoscaler
        | Kind::ServiceMonitor
        | Kind::Ingress
        | Kind::HttpRoute => false,
    }
}

/// Creates the server's keys when they do not exist.
///
/// # Errors
/// When they cannot be created, or somebody else's Secret has their name.
pub async fn ensure_keys(id: &Identity, rotate: Option<&str>, ctx: &Context) -> Result<(), Error> {
    let server = Key::new(&id.namespace, &id.name);
    keys::ensure(&Writer { ctx, id, server: &server, pods: Pods::Keep }, &desired_keys::build(id), rotate).await
}

/// Whether every child is as it should be. Asks nobody.
#[must_use]
pub fn is_converged(children: &Children, id: &Identity, ctx: &Context) -> bool {
    let Ok(manifests) = Manifests::of(children) else { return false };
    let server = Key::new(&id.namespace, &id.name);
    let writer = Writer { ctx, id, server: &server, pods: Pods::Keep };
    manifests.applied.iter().all(|manifest| {
        let found = writer.cached(manifest.kind, &manifest.name);
        found.is_some_and(|found| writer.difference(manifest, &found) == Difference::None)
    })
}

/// One server's children, and where they are written.
struct Writer<'a> {
    ctx: &'a Context,
    id: &'a Identity,
    server: &'a Key,
    pods: Pods,
}

impl Writer<'_> {
    async fn put(&self, manifest: &Manifest) -> Result<(), Error> {
        let Manifest { kind, name, body, .. } = manifest;
        let found = match self.cached(*kind, name) {
            Some(found) => found,
            None => match self.create(manifest).await? {
                Some(found) => Arc::new(found),
                None => return Ok(()),
            },
        };
        guard(&found, self.id)?;
        let difference = self.difference(manifest, &found);
        match &difference {
            Difference::None => return Ok(()),
            Difference::Intent if *kind == Kind::Deployment && self.pods == Pods::Keep => return Ok(()),
            Difference::Drift(path) => self.count_repair(manifest, path)?,
            Difference::Absent | Difference::Intent => {}
        }
        handover::replicas(self, manifest, &found).await?;
        let applied = self.send(*kind, name, body).await.map_err(|source| api_error("apply", *kind, name, source))?;
        self.applied(manifest, &difference, applied);
        Ok(())
    }

    /// Creates what the cache does not have. An object that no watch shows may still be there, without our label: somebody
    /// else's, or ours with its labels taken off. It is not touched, but returned.
    async fn create(&self, manifest: &Manifest) -> Result<Option<Child>, Error> {
        let Manifest { kind, name, body, .. } = manifest;
        let mut body = body.clone();
        body["metadata"]["resourceVersion"] = Value::from(NO_VERSION);
        match self.send(*kind, name, &body).await {
            Ok(created) => {
                self.applied(manifest, &Difference::Absent, created);
                Ok(None)
            }
            Err(source) if code(&source) == Some(409) => match self.api(*kind).get_metadata_opt(name).await {
                Ok(Some(found)) => Ok(Some(Child::of(*kind, found.metadata))),
                // It has gone meanwhile.
                Ok(None) => Err(api_error("create", *kind, name, source)),
                Err(source) => Err(api_error("look for", *kind, name, source)),
            },
            Err(source) => Err(api_error("create", *kind, name, source)),
        }
    }

    /// Applies it. What is returned has the status where we report it; of other kinds the API server sends no more than
    /// the metadata. `None`: an answer that cannot be read comes by the watch, or not at all.
    async fn send(&self, kind: Kind, name: &str, body: &Value) -> Result<Option<Child>, kube::Error> {
        let child = match kind {
            Kind::Deployment => self.patch(name, body).await.map(Child::of_deployment),
            Kind::HorizontalPodAutoscaler => self.patch(name, body).await.map(Child::of_autoscaler),
            Kind::Ingress => self.patch(name, body).await.map(Child::of_ingress),
            Kind::HttpRoute => self.patch(name, body).await.map(Child::of_http_route),
            _ => {
                let answer = self.api(kind).patch_metadata(name, &params(), &Patch::Apply(body)).await;
                answer.map(|object| Child::of(kind, object.metadata))
            }
        };
        match child {
            Ok(child) => Ok(Some(child)),
            Err(kube::Error::SerdeError(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn patch<K>(&self, name: &str, body: &Value) -> Result<K, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.ctx.client.clone(), &self.id.namespace);
        api.patch(name, &params(), &Patch::Apply(body)).await
    }

    fn cached(&self, kind: Kind, name: &str) -> Option<Arc<Child>> {
        self.ctx.cache.children(kind).get(&Key::new(&self.id.namespace, name))
    }

    fn difference(&self, manifest: &Manifest, found: &Child) -> Difference {
        let settled = |child: &Child| {
            let fingerprint = child.fields.fingerprint();
            self.ctx.memory.with(self.server, |server| server.is_settled(manifest.kind, &manifest.name, fingerprint))
        };
        compare(manifest, found, settled)
    }

    /// Three repairs of the same field are made; who fights on is left alone until the ten minutes are over.
    fn count_repair(&self, manifest: &Manifest, path: &str) -> Result<(), Error> {
        let (kind, name, now) = (manifest.kind, &manifest.name, Instant::now());
        self.ctx.memory.with(self.server, |server| {
            let times = server.repairs(kind, name, path, now);
            if times >= CONTEST_LIMIT {
                return Err(Error::Contested { kind, name: name.clone(), path: path.to_owned(), times });
            }
            server.repaired(kind, name, path, now);
            Ok(())
        })
    }

    /// The cache knows the answer before the watch brings it: the next reconcile must not write again.
    /// With the status of that very answer: the event of this version will not be taken any more.
    fn applied(&self, manifest: &Manifest, why: &Difference, answer: Option<Child>) {
        let Manifest { kind, name, .. } = manifest;
        info!(kind = kind.as_str(), child = %name, %why, "applied");
        self.ctx.metrics.applied(*kind, why.label());
        let Some(child) = answer else { return };
        let fingerprint = child.fields.fingerprint();
        self.ctx.memory.with(self.server, |server| server.settle(*kind, name, fingerprint));
        self.ctx.cache.children(*kind).put(child);
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.ctx.client.clone(), &self.id.namespace, &kind.resource())
    }
}

fn params() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

fn contest(writer: &Writer<'_>) -> Result<(), Error> {
    let contested = writer.ctx.memory.with(writer.server, |server| server.contested(Instant::now()));
    contested.map_or(Ok(()), |(kind, name, path, times)| Err(Error::Contested { kind, name, path, times }))
}

fn api_error(action: &'static str, kind: Kind, name: &str, source: kube::Error) -> Error {
    Error::Api { action, kind, name: name.to_owned(), source: Box::new(source) }
}
