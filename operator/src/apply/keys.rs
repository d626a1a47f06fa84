//! Secret `<name>-keys`: created once, never read, and changed only when an annotation of the server asks for new keys.

use http::header::CONTENT_TYPE;
use http::{Method, Request};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, PostParams};
use rand::TryRngCore;
use rand::rngs::OsRng;
use tracing::info;

use super::rotation::{self, Rotation, Step};
use super::{Writer, api_error};
use crate::cache::Child;
use crate::client;
use crate::desired::identity::MANAGER;
use crate::desired::keys::{KEY_BYTES, Material, Template};
use crate::error::Error;
use crate::kind::Kind;
use crate::settings::SecretAccess;

const KIND: Kind = Kind::Secret;

/// Creates the Secret when it does not exist. `request` is the server's annotation that asks for new keys.
pub(super) async fn ensure(writer: &Writer<'_>, template: &Template, request: Option<&str>) -> Result<(), Error> {
    let name = writer.id.keys_name();
    if writer.ctx.settings.secret_access == SecretAccess::None {
        // The user's to make, and nothing is known of it: a pod that misses it says so.
        return Ok(());
    }
    if let Some(found) = writer.cached(KIND, &name) {
        super::guard(&found, writer.id)?;
        return rotate(writer, &found, request).await;
    }
    let api = Api::namespaced(writer.ctx.client.clone(), &writer.id.namespace);
    let fresh = Rotation::fresh(request, Timestamp::now()).annotation();
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &template.with(&material()?, fresh)).await {
        Ok(created) => {
            info!(kind = KIND.as_str(), child = %name, why = "created", "applied");
            writer.ctx.metrics.applied(KIND, "created");
            writer.ctx.cache.children(KIND).put(Child::of(KIND, created.metadata));
            Ok(())
        }
        // The watch has not shown it yet: an answer to an earlier POST was lost, or somebody was quicker.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let found = api.get_metadata(&name).await.map_err(|source| api_error("look for", KIND, &name, source))?;
            let found = Child::of(KIND, found.metadata);
            super::guard(&found, writer.id)?;
            writer.ctx.cache.children(KIND).put(found);
            Ok(())
        }
        Err(source) => Err(api_error("create", KIND, &name, source)),
    }
}

/// One step, when it is time for one.
async fn rotate(writer: &Writer<'_>, found: &Child, request: Option<&str>) -> Result<(), Error> {
    let current = found.intent.as_deref().and_then(Rotation::read);
    let Step::Go(step) = rotation::next(current.as_ref(), request, Timestamp::now()) else { return Ok(()) };
    let name = &found.key.name;
    let failed = |source| api_error("rotate", KIND, name, source);
    let api = Api::<Secret>::namespaced(writer.ctx.client.clone(), &writer.id.namespace);
    // By name, of which the cache keeps too little; a list, since `get` of a Secret is a right that may be lacking.
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let live = api.list_metadata(&only).await.map_err(failed)?.items.pop();
    // Gone meanwhile: the watch will tell.
    let Some(live) = live else { return Ok(()) };
    let version = live.metadata.resource_version.as_deref().unwrap_or_default();
    let patch = rotation::patch(&step, &material()?, version, live.metadata.annotations.is_some());
    // By hand: kube's type for it is a feature of its own.
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("/api/v1/namespaces/{}/secrets/{name}?fieldManager={MANAGER}", writer.id.namespace))
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(serde_json::Value::from(patch).to_string().into_bytes())
        .map_err(|error| failed(kube::Error::HttpError(error)))?;
    // Without the keys.
    let patched = client::metadata::<Secret>(&writer.ctx.client, request).await.map_err(failed)?;
    info!(kind = KIND.as_str(), child = %name, phase = %step.phase, "keys rotate");
    writer.ctx.metrics.applied(KIND, "changed");
    writer.ctx.cache.children(KIND).put(Child::of(KIND, patched.metadata));
    Ok(())
}

fn material() -> Result<Material, Error> {
    Ok(Material { session: random()?, request_state: random()?, peer: random()? })
}

fn random() -> Result<[u8; KEY_BYTES], Error> {
    let mut bytes = [0; KEY_BYTES];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| Error::Randomness(error.to_string()))?;
    Ok(bytes)
}
