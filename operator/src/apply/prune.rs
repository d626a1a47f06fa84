//! Removes children that are no longer wanted: only what carries our owner reference, and only the very object that
//! was looked at.

use std::collections::BTreeSet;

use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use tracing::info;

use super::{Manifests, Writer, api_error};
use crate::cache::{Child, Index};
use crate::error::{self, Error};
use crate::kind::Kind;

pub(super) async fn prune(writer: &Writer<'_>, wanted: &Manifests<'_>) -> Result<(), Error> {
    let mounted = mounted_config_maps(writer);
    for kind in Kind::ALL {
        // The keys are wanted as long as the server is, and no other Secret is ours. Claims are the user's.
        if matches!(kind, Kind::Secret | Kind::PersistentVolumeClaim) {
            continue;
        }
        for child in writer.ctx.cache.children(kind).find(&Index::Server(writer.server.clone())) {
            let ours = child.belongs_to(&writer.id.uid) && !child.deleting;
            if ours && !wanted.wants(kind, &child.key.name) && may_go(&child, wanted, &mounted) {
                delete(writer, &child).await?;
            }
        }
    }
    Ok(())
}

fn mounted_config_maps(writer: &Writer<'_>) -> BTreeSet<String> {
    let sets = writer.ctx.cache.replica_sets.find(&Index::Server(writer.server.clone()));
    sets.iter().flat_map(|set| set.config_maps.iter().cloned()).collect()
}

/// A boot ConfigMap stays while a ReplicaSet mounts it: `kubectl rollout undo` and the pods of a roll-out under way need
/// it. Which ReplicaSets there are is only known once the newest is among them.
fn may_go(child: &Child, wanted: &Manifests<'_>, mounted: &BTreeSet<String>) -> bool {
    if child.kind != Kind::ConfigMap {
        return true;
    }
    let newest_is_mounted = wanted.applied.iter().any(|manifest| {
        manifest.kind == Kind::ConfigMap && manifest.name.contains("-boot-") && mounted.contains(&manifest.name)
    });
    newest_is_mounted && !mounted.contains(&*child.key.name)
}

async fn delete(writer: &Writer<'_>, child: &Child) -> Result<(), Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(child.uid.clone()), resource_version: None }),
        // A Job's pods would be left alone by default.
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match writer.api(child.kind).delete(&child.key.name, &params).await {
        Ok(_) => {
            info!(kind = child.kind.as_str(), child = %child.key.name, "removed");
            writer.ctx.metrics.applied(child.kind, "removed");
        }
        // Gone already, or another object by now: the watch will tell.
        Err(source) if matches!(error::code(&source), Some(404 | 409)) => {}
        Err(source) => return Err(api_error("remove", child.kind, &child.key.name, source)),
    }
    writer.ctx.cache.children(child.kind).remove(&child.key);
    Ok(())
}
