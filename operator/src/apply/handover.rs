//! Gives the number of pods over to an autoscaler.
//!
//! Server-side apply removes a field that its only owner leaves out, and a Deployment without `replicas` has one pod. So
//! before it is left out a second field manager holds the value that there is. An autoscaler's first change takes it from
//! there. The way back needs nothing: the spec's number is applied by force.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tracing::info;

use super::{Manifest, Writer, api_error};
use crate::cache::Child;
use crate::error::Error;
use crate::kind::Kind;

/// Holds `replicas` between the operator and an autoscaler.
const HOLDER: &str = "mcp-operator-replicas";

/// Does something only for a Deployment that is to be applied without `replicas` while they are still ours.
pub(super) async fn replicas(writer: &Writer<'_>, manifest: &Manifest, found: &Child) -> Result<(), Error> {
    let leaves = manifest.kind == Kind::Deployment && manifest.body.pointer("/spec/replicas").is_none();
    if !leaves || !found.fields.owns(&["spec", "replicas"]) {
        return Ok(());
    }
    let api = Api::<Deployment>::namespaced(writer.ctx.client.clone(), &writer.id.namespace);
    let failed = |action, source| api_error(action, manifest.kind, &manifest.name, source);
    let live = api.get(&manifest.name).await.map_err(|source| failed("read", source))?;
    let Some(replicas) = live.spec.and_then(|spec| spec.replicas) else { return Ok(()) };
    let held = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": manifest.name, "uid": found.uid},
        "spec": {"replicas": replicas},
    });
    // Not by force: where somebody has changed the number since, the conflict sends us back to read it again.
    let params = PatchParams::apply(HOLDER);
    api.patch(&manifest.name, &params, &Patch::Apply(&held)).await.map_err(|source| failed("hand over", source))?;
    info!(child = %manifest.name, replicas, "the number of pods is the autoscaler's");
    Ok(())
}
