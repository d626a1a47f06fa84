//! A digest of the Secrets and ConfigMaps in the backend's environment: a process sees its environment only when it
//! starts, so a change must roll the pods. The one place where the operator reads the content of a Secret.
//!
//! The digest stands in the pod template, where more people may look than into Secrets: it is keyed by one of the
//! server's generated keys, so that a guess of a weak password cannot be checked against it. Rotating that key rolls
//! the pods of servers with such an environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use mcp_crds::McpServer;
use sha2::{Digest, Sha256};

use super::references::{self, Reference};
use crate::apply;
use crate::cache::Key;
use crate::context::Context;
use crate::desired::{EnvDigest, Identity, keys};
use crate::error::Error;
use crate::kind::Kind;
use crate::settings::SecretAccess;

/// The digest of one object's part in an environment.
pub type Part = [u8; 32];

/// `None` when the environment refers to nothing.
///
/// # Errors
/// When an object that is there cannot be read.
pub async fn digest(server: &McpServer, id: &Identity, ctx: &Context) -> Result<Option<EnvDigest>, Error> {
    let used = used_keys(references::of_environment(&server.spec));
    if used.is_empty() {
        return Ok(None);
    }
    apply::ensure_keys(id, keys::request(server).as_deref(), ctx).await?;
    let key_version = key_version(id, ctx);
    let mut versions = Sha256::new();
    let mut used_versions = Vec::with_capacity(used.len());
    for ((kind, name), keys) in &used {
        let version = version(*kind, name, keys, &key_version, id, ctx);
        versions.update(format!("{kind}/{name}={version:?}\n"));
        used_versions.push(version);
    }
    let versions = hex(versions);
    let written = written(id, ctx);
    if let Some(written) = written.as_ref().filter(|written| written.versions == versions) {
        return Ok(Some(written.clone()));
    }
    let secret_key = secret_key(key_version, id, ctx).await?;
    let mut digest = Sha256::new();
    for (((kind, name), keys), version) in used.iter().zip(used_versions) {
        digest.update(part(*kind, name, keys, version, &secret_key, id, ctx).await?);
    }
    let digest = hex(digest);
    // Versions that say the same are not worth a write.
    Ok(Some(written.filter(|written| written.digest == digest).unwrap_or(EnvDigest { digest, versions })))
}

/// What the Deployment says.
fn written(id: &Identity, ctx: &Context) -> Option<EnvDigest> {
    let deployment = ctx.cache.children(Kind::Deployment).get(&Key::new(&id.namespace, &id.name))?;
    deployment.rollout().filter(|_| deployment.belongs_to(&id.uid))?.environment.clone()
}

fn hex(digest: Sha256) -> String {
    let mut text = String::new();
    for byte in &digest.finalize()[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Which keys of each object are used; `None` for all.
type Used = BTreeMap<(Kind, String), Option<BTreeSet<String>>>;

fn used_keys(references: Vec<Reference>) -> Used {
    let mut used = Used::new();
    for Reference { kind, name, key, .. } in references {
        let keys = used.entry((kind, name)).or_insert_with(|| Some(BTreeSet::new()));
        match (keys.as_mut(), key) {
            (Some(keys), Some(key)) => {
                keys.insert(key);
            }
            (_, None) => *keys = None,
            (None, Some(_)) => {}
        }
    }
    used
}

/// Which version of an object it is, and of the key that its digest is made with. `None`: nothing is known of it, or it
/// is not there.
fn version(
    kind: Kind,
    name: &str,
    keys: &Option<BTreeSet<String>>,
    key_version: &str,
    id: &Identity,
    ctx: &Context,
) -> Option<String> {
    // Who changes a Secret rolls the pods then.
    if kind == Kind::Secret && ctx.settings.secret_access == SecretAccess::None {
        return None;
    }
    let found = ctx.cache.children(kind).get(&Key::new(&id.namespace, name))?;
    Some(format!("{}/{}/{keys:?}/{key_version}", found.uid, found.resource_version))
}

/// Read again only when the object's version has changed.
async fn part(
    kind: Kind,
    name: &str,
    keys: &Option<BTreeSet<String>>,
    version: Option<String>,
    secret_key: &[u8],
    id: &Identity,
    ctx: &Context,
) -> Result<Part, Error> {
    let server = Key::new(&id.namespace, &id.name);
    // An optional object that is not there has a digest too: its appearance is a change.
    let Some(version) = version else {
        return Ok(of_values(kind, name, &BTreeMap::new(), keys, secret_key));
    };
    if let Some(known) = ctx.memory.with(&server, |memory| memory.environment(kind, name, &version)) {
        return Ok(known);
    }
    let values = match (kind, ctx.settings.secret_access) {
        // That it changed is known, what it says is not: pods roll for keys, too, that they do not use.
        (Kind::Secret, SecretAccess::NoGet) => BTreeMap::from([("version".to_owned(), version.clone().into_bytes())]),
        _ => read(kind, name, id, ctx).await?,
    };
    let all = None;
    let keys = if kind == Kind::Secret && ctx.settings.secret_access == SecretAccess::NoGet { &all } else { keys };
    let part = of_values(kind, name, &values, keys, secret_key);
    ctx.memory.with(&server, |memory| memory.remember_environment(kind, name, version, part));
    Ok(part)
}

/// The content of an object that the cache has. When it has gone meanwhile that is an error, not an empty environment:
/// pods must not roll onto what is not there.
pub(super) async fn read(
    kind: Kind,
    name: &str,
    id: &Identity,
    ctx: &Context,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let failed = |source| Error::Api { action: "read", kind, name: name.to_owned(), source: Box::new(source) };
    if kind == Kind::Secret {
        let secret = Api::<Secret>::namespaced(ctx.client.clone(), &id.namespace).get(name).await.map_err(failed)?;
        let data = secret.data.unwrap_or_default();
        return Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect());
    }
    let map = Api::<ConfigMap>::namespaced(ctx.client.clone(), &id.namespace).get(name).await.map_err(failed)?;
    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    Ok(text.chain(binary).collect())
}

fn of_values(
    kind: Kind,
    name: &str,
    values: &BTreeMap<String, Vec<u8>>,
    keys: &Option<BTreeSet<String>>,
    secret_key: &[u8],
) -> Part {
    let mut inner = Sha256::new();
    // Lengths keep the parts apart: "ab"+"c" is not "a"+"bc".
    let mut add = |bytes: &[u8]| {
        inner.update((bytes.len() as u64).to_be_bytes());
        inner.update(bytes);
    };
    add(secret_key);
    add(kind.as_str().as_bytes());
    add(name.as_bytes());
    for (key, value) in values.iter().filter(|(key, _)| keys.as_ref().is_none_or(|keys| keys.contains(*key))) {
        add(key.as_bytes());
        add(value);
    }
    // Hashed twice: with a plain SHA-256 a known digest could be extended without the key.
    Sha256::digest(inner.finalize()).into()
}

/// Which version of the Secret with the server's keys there is.
fn key_version(id: &Identity, ctx: &Context) -> String {
    if ctx.settings.secret_access != SecretAccess::Full {
        return id.uid.clone();
    }
    let found = ctx.cache.children(Kind::Secret).get(&Key::new(&id.namespace, id.keys_name()));
    // One that was deleted and made anew has other keys, and the pods must see them.
    found.map(|found| format!("{}/{}", found.uid, found.resource_version)).unwrap_or_default()
}

/// What digests are made with.
async fn secret_key(version: String, id: &Identity, ctx: &Context) -> Result<Vec<u8>, Error> {
    let (server, name) = (Key::new(&id.namespace, &id.name), id.keys_name());
    if ctx.settings.secret_access != SecretAccess::Full {
        // No Secret's content gets into a digest then, so there is nothing to guess.
        return Ok(version.into_bytes());
    }
    if let Some(bytes) = ctx.memory.with(&server, |memory| memory.digest_key(&version)) {
        return Ok(bytes);
    }
    let mut values = read(Kind::Secret, &name, id, ctx).await?;
    // An empty key would be none: anybody could check a guess of a password by its digest.
    let bytes = values.remove(keys::PEER).filter(|bytes| bytes.len() >= keys::KEY_BYTES);
    let bytes = bytes.ok_or(Error::Keys { name, key: keys::PEER })?;
    ctx.memory.with(&server, |memory| memory.remember_digest_key(&version, bytes.clone()));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn only(key: &str) -> Option<BTreeSet<String>> {
        Some(BTreeSet::from([key.to_owned()]))
    }

    #[test]
    fn only_the_keys_that_are_used_count() {
        let of = |pairs: &[(&str, &str)], keys| of_values(Kind::Secret, "s", &values(pairs), &keys, b"k");
        assert_eq!(of(&[("a", "1"), ("b", "2")], only("a")), of(&[("a", "1"), ("b", "3")], only("a")));
        assert_ne!(of(&[("a", "1")], only("a")), of(&[("a", "2")], only("a")));
        assert_ne!(of(&[("a", "1"), ("b", "2")], None), of(&[("a", "1"), ("b", "3")], None));
    }

    #[test]
    fn without_the_key_the_digest_cannot_be_made() {
        let of = |key: &[u8]| of_values(Kind::Secret, "s", &values(&[("a", "1")]), &None, key);
        assert_ne!(of(b"one"), of(b"other"));
    }

    #[test]
    fn a_whole_object_is_used_when_any_reference_takes_it_whole() {
        let reference = |key: Option<&str>| Reference {
            kind: Kind::Secret,
            name: "s".to_owned(),
            key: key.map(str::to_owned),
            field: String::new(),
            need: references::Need::Required,
        };
        let used = used_keys(vec![reference(Some("a")), reference(None), reference(Some("b"))]);
        assert_eq!(used[&(Kind::Secret, "s".to_owned())], None);
    }
}
