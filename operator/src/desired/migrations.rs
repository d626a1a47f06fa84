//! Job `<name>-m-<hash>`: brings the database to what the new pods expect, before they start.
//!
//! Named by what it runs: a change makes another Job. It is created once and never applied: the template of a Job cannot
//! change. Which one the running pods came after stands on the Deployment, so that a Job that is gone runs no second time.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, PodSpec, PodTemplateSpec, SecretKeySelector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mcp_crds::{Database, McpServerSpec, Migrations, PullPolicy};

use super::identity::short_digest;
use super::{Identity, Invalid, convert, hardening, service_account};

/// Name of the container.
pub const MIGRATIONS: &str = "migrations";
/// `app.kubernetes.io/name` of the pods: no Service and no Deployment selects them.
pub const APP: &str = "mcp-migrations";
/// Annotation of the Deployment: the hash of the migrations that its pods came after.
pub const MIGRATED: &str = "mcp-operator.dev/migrated";

/// The variable with the database's URL.
const URL: &str = "DATABASE_URL";
/// Hexadecimal digits of the hash in the name: the longest name of a server leaves room for no more.
const HASH_DIGITS: usize = 8;

/// The Job, and the hash of what it runs.
///
/// # Errors
/// When no image is named anywhere.
pub fn build(id: &Identity, spec: &McpServerSpec) -> Result<Option<(Job, String)>, Invalid> {
    let Some((database, given)) = spec.database.as_ref().and_then(|it| Some((it, it.migrations.as_ref()?))) else {
        return Ok(None);
    };
    let image = image(spec, given)?;
    let hash = hash(&image, database, given);
    let Migrations { timeout_seconds, backoff_limit, ttl_seconds_after_finished, .. } = given;
    let job = Job {
        metadata: id.meta(id.migrations_name(&hash)),
        spec: Some(JobSpec {
            backoff_limit: Some(*backoff_limit),
            active_deadline_seconds: Some(i64::from(*timeout_seconds)),
            ttl_seconds_after_finished: Some(*ttl_seconds_after_finished),
            template: PodTemplateSpec {
                metadata: Some(template_meta(id)),
                spec: Some(pod(id, spec, container(&image, database, given))),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    };
    Ok(Some((job, hash)))
}

/// Migrations are often in the server's own image.
fn image(spec: &McpServerSpec, given: &Migrations) -> Result<String, Invalid> {
    let backend = spec.backend.container.as_ref().map(|container| &container.image);
    given.image.as_ref().or(backend).cloned().ok_or_else(|| {
        let remedy = "name the image that has the migrations";
        Invalid::new("spec.database.migrations.image", "is missing, and there is no backend.container", remedy)
    })
}

/// Of what the user wrote, not of what is made of it: another release of the operator must not run them anew. Timeouts
/// are no other migrations.
fn hash(image: &str, database: &Database, given: &Migrations) -> String {
    let Migrations {
        image: _,
        image_pull_policy: _,
        command,
        args,
        env,
        env_from,
        resources: _,
        timeout_seconds: _,
        backoff_limit: _,
        ttl_seconds_after_finished: _,
    } = given;
    let what = serde_json::json!([image, database.url_secret_ref, command, args, env, env_from]);
    short_digest(&what.to_string(), HASH_DIGITS)
}

/// The user's labels and annotations stay with the server's pods: what they ask for (a mesh's sidecar) would keep a Job
/// from ending.
fn template_meta(id: &Identity) -> ObjectMeta {
    let mut labels = id.labels();
    labels.insert("app.kubernetes.io/name".to_owned(), APP.to_owned());
    ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }
}

fn pod(id: &Identity, spec: &McpServerSpec, container: Container) -> PodSpec {
    let given = &spec.pod;
    let mut pod = PodSpec {
        containers: vec![container],
        // A failed pod stays, with its last words, until the Job goes.
        restart_policy: Some("Never".to_owned()),
        service_account_name: Some(service_account::name(id, spec).to_owned()),
        image_pull_secrets: convert::list(&given.image_pull_secrets),
        node_selector: (!given.node_selector.is_empty()).then(|| given.node_selector.clone()),
        tolerations: convert::list(&given.tolerations),
        priority_class_name: given.priority_class_name.clone(),
        runtime_class_name: given.runtime_class_name.clone(),
        ..PodSpec::default()
    };
    hardening::apply(&mut pod, given.security_context.as_ref());
    pod
}

fn container(image: &str, database: &Database, given: &Migrations) -> Container {
    let url = EnvVar {
        name: URL.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: database.url_secret_ref.name.clone(),
                key: database.url_secret_ref.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    };
    // First, so that the user's variables can refer to it; and one of the same name is the user's.
    let env = std::iter::once(url).filter(|url| given.env.iter().all(|other| other.name != url.name));
    Container {
        name: MIGRATIONS.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: given.image_pull_policy.map(PullPolicy::as_str).map(str::to_owned),
        command: convert::list(&given.command),
        args: convert::list(&given.args),
        env: Some(env.chain(given.env.iter().cloned()).collect()),
        env_from: convert::list(&given.env_from),
        resources: Some(convert::resources(&given.resources)),
        ..Container::default()
    }
}
