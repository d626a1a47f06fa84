//! The migrations Job: once for each change, before the pods that need it.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};
use tracing::info;

use super::{Manifest, Writer, api_error};
use crate::cache::{Child, Index, JobState};
use crate::desired::identity::MANAGER;
use crate::error::Error;
use crate::kind::Kind;

const KIND: Kind = Kind::Job;

/// Ends well when the migrations have: now, or before the pods that there are.
///
/// # Errors
/// While they are under way, or when they failed: the pods of before stay.
pub(super) async fn ensure(writer: &Writer<'_>, job: &Manifest, hash: &str) -> Result<(), Error> {
    if is_done(writer, hash) {
        return Ok(());
    }
    let name = &job.name;
    end_others(writer, name).await?;
    let found = match writer.cached(KIND, name) {
        Some(found) => found,
        None => create(writer, job).await?.into(),
    };
    super::guard(&found, writer.id)?;
    match found.job() {
        Some(JobState::Complete) => Ok(()),
        Some(JobState::Failed(why)) => {
            let said = last_words(writer, name).unwrap_or_else(|| why.clone());
            Err(Error::MigrationFailed { job: name.clone(), why: said })
        }
        Some(JobState::Running) | None => Err(Error::Migrating { job: name.clone(), why: last_words(writer, name) }),
    }
}

/// Whether the Deployment that there is came after these migrations.
fn is_done(writer: &Writer<'_>, hash: &str) -> bool {
    let deployment = writer.cached(Kind::Deployment, &writer.id.name);
    deployment.is_some_and(|deployment| {
        deployment.belongs_to(&writer.id.uid)
            && deployment.rollout().is_some_and(|rollout| rollout.migrated.as_deref() == Some(hash))
    })
}

/// Two migrations at once could do anything to a database: one that was overtaken ends first, with its pods.
async fn end_others(writer: &Writer<'_>, wanted: &str) -> Result<(), Error> {
    let jobs = writer.ctx.cache.children(KIND).find(&Index::Server(writer.server.clone()));
    let running = |job: &&Arc<Child>| {
        job.belongs_to(&writer.id.uid) && job.key.name != wanted && job.job() == Some(&JobState::Running)
    };
    let Some(other) = jobs.iter().find(running) else { return Ok(()) };
    let name = &other.key.name;
    if !other.deleting {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions { uid: Some(other.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match writer.api(KIND).delete(name, &params).await {
            Ok(_) => info!(kind = KIND.as_str(), child = %name, "overtaken, removed"),
            Err(source) if matches!(crate::error::code(&source), Some(404 | 409)) => {}
            Err(source) => return Err(api_error("remove", KIND, name, source)),
        }
    }
    Err(Error::Migrating { job: wanted.to_owned(), why: Some(format!("waits for the end of Job {name}")) })
}

async fn create(writer: &Writer<'_>, job: &Manifest) -> Result<Child, Error> {
    let name = &job.name;
    let api = Api::<Job>::namespaced(writer.ctx.client.clone(), &writer.id.namespace);
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let render = |source| Error::Render { kind: KIND, name: name.clone(), source };
    let object = serde_json::from_value(job.body.clone()).map_err(render)?;
    let found = match api.create(&params, &object).await {
        Ok(created) => {
            info!(kind = KIND.as_str(), child = %name, why = "created", "applied");
            writer.ctx.metrics.applied(KIND, "created");
            created
        }
        // The watch has not shown it yet, or somebody else has the name: the guard will say.
        Err(source) if crate::error::code(&source) == Some(409) => {
            api.get(name).await.map_err(|source| api_error("look for", KIND, name, source))?
        }
        Err(source) => return Err(api_error("create", KIND, name, source)),
    };
    let child = Child::of_job(found);
    writer.ctx.cache.children(KIND).put(child.clone());
    Ok(child)
}

/// What the pods said, which tells more than the Job.
fn last_words(writer: &Writer<'_>, job: &str) -> Option<String> {
    let prefix = format!("{job}-");
    let pods = writer.ctx.cache.pods.find(&Index::Server(writer.server.clone()));
    let own = pods.iter().filter(|pod| {
        pod.migrates && pod.part.key.name.starts_with(&prefix) && pod.part.server_uid.as_deref() == Some(&writer.id.uid)
    });
    // The last one by its name: which of several says it matters little, but it must not change from look to look.
    let failed = own.filter_map(|pod| Some((pod.part.key.name.clone(), pod.failure.as_ref()?.message.clone())));
    failed.max_by(|one, other| one.0.cmp(&other.0)).map(|(_, message)| message)
}
