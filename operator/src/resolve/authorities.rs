//! The certificate authorities of `spec.tls.caBundle`, by which the operator checks what a Service shows it. Read once
//! for each version of the object.

use std::sync::Arc;

use mcp_crds::{CaBundle, KeyRef, McpServer};

use super::environment::read;
use crate::cache::Key;
use crate::context::Context;
use crate::desired::Identity;
use crate::error::Error;
use crate::kind::Kind;

/// `None` where the spec names none. A key that is missing is an empty bundle, which the verifier says is no use.
///
/// # Errors
/// When an object that is there cannot be read.
pub async fn read_bundle(server: &McpServer, id: &Identity, ctx: &Context) -> Result<Option<Arc<str>>, Error> {
    let Some(bundle) = server.spec.tls.as_ref().and_then(|tls| tls.ca_bundle.as_ref()) else { return Ok(None) };
    let Some((kind, KeyRef { name, key })) = source(bundle) else { return Ok(None) };
    let Some(found) = ctx.cache.children(kind).get(&Key::new(&id.namespace, name)) else { return Ok(None) };
    let server = Key::new(&id.namespace, &id.name);
    let version = format!("{kind}/{}/{key}/{}", found.uid, found.resource_version);
    if let Some(known) = ctx.memory.with(&server, |memory| memory.authorities(&version)) {
        return Ok(Some(known));
    }
    let mut values = read(kind, name, id, ctx).await?;
    let bundle: Arc<str> = String::from_utf8_lossy(&values.remove(key).unwrap_or_default()).into();
    ctx.memory.with(&server, |memory| memory.remember_authorities(version, Arc::clone(&bundle)));
    Ok(Some(bundle))
}

fn source(bundle: &CaBundle) -> Option<(Kind, &KeyRef)> {
    let CaBundle { config_map_key_ref, secret_key_ref } = bundle;
    let map = config_map_key_ref.as_ref().map(|key| (Kind::ConfigMap, key));
    map.or_else(|| secret_key_ref.as_ref().map(|key| (Kind::Secret, key)))
}
