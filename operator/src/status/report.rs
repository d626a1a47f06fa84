//! Writes the status and the events, when there is something new to say.

use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use kube::api::{Patch, PatchParams, Request};
use kube::core::PartialObjectMeta;
use mcp_crds::{McpServer, McpServerStatus};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::cache::{Entry as _, Key, is_older};
use crate::client;
use crate::context::Context;
use crate::desired::identity::MANAGER;
use crate::error::{self, Error};
use crate::events;
use crate::memory::Written;

/// What every definition of `v1alpha1` has had a place for, and `kubectl scale` needs.
const FIRST_FIELDS: [&str; 5] = ["observedGeneration", "conditions", "replicas", "readyReplicas", "selector"];

/// The status that the server has now: what we wrote last counts before the watch shows it.
#[must_use]
pub fn current(server: &McpServer, key: &Key, ctx: &Context) -> McpServerStatus {
    let seen = server.metadata.resource_version.as_deref().unwrap_or_default();
    let written = ctx.memory.with(key, |memory| memory.written.clone());
    match written {
        // The very version that we wrote says what we said, though the API server may have kept less of it: the
        // definition in the cluster may be older than this release.
        Some(Written { resource_version, status }) if seen == resource_version || is_older(seen, &resource_version) => {
            Arc::unwrap_or_clone(status)
        }
        // What was written is forgotten once the cache has it, which may be further than this reconcile.
        _ => match ctx.cache.servers.get(key).filter(|newest| newest.uid() == server.metadata.uid.as_deref()) {
            Some(newest) => newest.status().cloned().unwrap_or_default(),
            None => server.status.clone().unwrap_or_default(),
        },
    }
}

/// Writes `status` unless it is what is there already, and tells people of what turned. With `patience`, only when it
/// has been another one for so long; what is returned is how long that still takes.
///
/// # Errors
/// When the API server does not take it.
pub async fn report(
    server: &McpServer,
    key: &Key,
    earlier: &McpServerStatus,
    status: McpServerStatus,
    patience: Duration,
    ctx: &Context,
) -> Result<Option<Duration>, Error> {
    ctx.metrics.conditions(key, &status.conditions);
    if *earlier == status {
        ctx.memory.with(key, |memory| memory.due = None);
        return Ok(None);
    }
    let waited = ctx.memory.with(key, |memory| memory.due.get_or_insert_with(Instant::now).elapsed());
    if waited < patience {
        return Ok(Some(patience - waited));
    }
    let status = Arc::new(status);
    ctx.memory.with(key, |memory| memory.sent = Some(Arc::clone(&status)));
    match write(server, key, &status, ctx).await {
        Ok(written) => {
            debug!("status written");
            let resource_version = written.metadata.resource_version.unwrap_or_default();
            let written = Written { resource_version, status: Arc::clone(&status) };
            ctx.memory.with(key, |memory| (memory.written, memory.due) = (Some(written), None));
            // The watch may have been quicker than the answer.
            if let Some(seen) = ctx.cache.servers.get(key).filter(|seen| seen.status() == Some(&*status)) {
                ctx.memory.with(key, |memory| memory.hears(&status, seen.resource_version()));
            }
        }
        Err(source) if matches!(error::code(&source), Some(404 | 409)) => {
            debug!("the server is gone");
            return Ok(None);
        }
        Err(source) => return Err(Error::Status(Box::new(source))),
    }
    for event in events::of(&earlier.conditions, &status.conditions) {
        if let Err(error) = ctx.events.publish(&event, &events::regarding(server)).await {
            if error::is_namespace_ending(&error) {
                break;
            }
            // An event is a courtesy: its loss must not fail the reconcile.
            warn!(error = &error as &dyn std::error::Error, "event not written");
        }
    }
    Ok(None)
}

/// Writes as much of the status as the definition in the cluster has room for.
async fn write(
    server: &McpServer,
    key: &Key,
    status: &McpServerStatus,
    ctx: &Context,
) -> Result<PartialObjectMeta<McpServer>, kube::Error> {
    match apply(server, key, status, ctx).await {
        // Server-side apply refuses what it does not know, where a merge would leave it out.
        Err(kube::Error::Api(refusal)) if refusal.message.contains("field not declared in schema") => {
            warn!(
                why = refusal.message,
                "the definition in the cluster is older than this operator: the status says less"
            );
            let mut less = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
            if let Some(fields) = less.as_object_mut() {
                fields.retain(|field, _| FIRST_FIELDS.contains(&field.as_str()));
            }
            apply(server, key, &less, ctx).await
        }
        answer => answer,
    }
}

async fn apply(
    server: &McpServer,
    key: &Key,
    status: &impl Serialize,
    ctx: &Context,
) -> Result<PartialObjectMeta<McpServer>, kube::Error> {
    let body = json!({
        "apiVersion": "mcp-operator.dev/v1alpha1",
        "kind": "McpServer",
        // Without the UID a server that was deleted meanwhile could not be told from its successor.
        "metadata": {"name": key.name, "uid": server.metadata.uid},
        "status": status,
    });
    let path = McpServer::url_path(&(), Some(&key.namespace));
    let params = PatchParams::apply(MANAGER).force();
    let request = Request::new(path).patch_subresource("status", &key.name, &params, &Patch::Apply(&body));
    client::metadata(&ctx.client, request.map_err(kube::Error::BuildRequest)?).await
}
