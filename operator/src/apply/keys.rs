//! Secret `<name>-keys`: created once, never read, never written again.

use kube::Api;
use kube::api::PostParams;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tracing::info;

use super::{Writer, api_error};
use crate::cache::Child;
use crate::desired::identity::MANAGER;
use crate::desired::keys::{KEY_BYTES, Material, Template};
use crate::error::Error;
use crate::kind::Kind;

const KIND: Kind = Kind::Secret;

/// Creates the Secret when it does not exist.
pub(super) async fn ensure(writer: &Writer<'_>, template: &Template) -> Result<(), Error> {
    let name = writer.id.keys_name();
    if let Some(found) = writer.cached(KIND, &name) {
        return super::guard(&found, writer.id);
    }
    let api = Api::namespaced(writer.ctx.client.clone(), &writer.id.namespace);
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &template.with(&material()?)).await {
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

fn material() -> Result<Material, Error> {
    Ok(Material { session: random()?, request_state: random()?, peer: random()? })
}

fn random() -> Result<[u8; KEY_BYTES], Error> {
    let mut bytes = [0; KEY_BYTES];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| Error::Randomness(error.to_string()))?;
    Ok(bytes)
}
