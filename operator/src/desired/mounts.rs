//! Files of the runtime's container: where each comes from and where the configuration finds it.
//!
//! Everything is a directory mount without `subPath`, so that the kubelet's updates reach the running process. Volume
//! names begin with `mcp-`; the user's cannot.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mcp_crds::{CaBundle, KeyRef, McpServerSpec};

use super::Identity;

/// Key of the boot ConfigMap.
pub const BOOT_FILE: &str = "config.yaml";
/// Key of the live ConfigMap.
pub const LIVE_FILE: &str = "live.yaml";
/// Key of the live ConfigMap beside it: the number of pods.
pub const REPLICAS_FILE: &str = "replicas";
/// Directory of the generated keys.
pub const KEYS_DIR: &str = "/etc/mcp-server/keys";
/// File with the redis URL.
pub const REDIS_URL_FILE: &str = "/etc/mcp-server/redis/url";

const BOOT_DIR: &str = "/etc/mcp-server/boot";
const LIVE_DIR: &str = "/etc/mcp-server/live";
const REDIS_DIR: &str = "/etc/mcp-server/redis";
const CA_DIR: &str = "/etc/mcp-server/ca";
const CA_FILE: &str = "ca.crt";

/// Readable for owner and group (`fsGroup`), nobody else.
const PRIVATE: i32 = 0o440;

/// Arguments of the runtime.
#[must_use]
pub fn arguments() -> Vec<String> {
    let [boot, live] = [format!("{BOOT_DIR}/{BOOT_FILE}"), format!("{LIVE_DIR}/{LIVE_FILE}")];
    vec!["--config".to_owned(), boot, "--live".to_owned(), live, "--no-env-overrides".to_owned()]
}

/// Where the runtime finds a CA bundle. Named by its source, not by its place in the list: reordering issuers must not
/// give running pods another issuer's authorities.
#[must_use]
pub fn ca_file(bundle: &CaBundle) -> String {
    format!("{CA_DIR}/{}/{CA_FILE}", ca_id(bundle))
}

/// The runtime's volumes with their mounts.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec, boot_config: &str) -> Vec<(Volume, VolumeMount)> {
    let mut mounts = vec![
        (config_map("mcp-boot", boot_config, None), read_only("mcp-boot", BOOT_DIR)),
        (config_map("mcp-live", &id.live_config_name(), None), read_only("mcp-live", LIVE_DIR)),
        (secret("mcp-keys", &id.keys_name(), None), read_only("mcp-keys", KEYS_DIR)),
        (scratch("mcp-tmp"), mount("mcp-tmp", "/tmp")),
    ];
    if let Some(redis) = &spec.redis {
        let KeyRef { name, key } = &redis.url_secret_ref;
        mounts.push((secret("mcp-redis", name, Some((key, "url"))), read_only("mcp-redis", REDIS_DIR)));
    }
    mounts.extend(authorities(spec));
    mounts
}

/// One volume a bundle, however many issuers use it.
fn authorities(spec: &McpServerSpec) -> Vec<(Volume, VolumeMount)> {
    let bundles = spec.auth.iter().flat_map(|auth| &auth.issuers).filter_map(|issuer| issuer.ca_bundle.as_ref());
    let mut volumes: Vec<_> = bundles
        .filter_map(|bundle| {
            let id = ca_id(bundle);
            let name = format!("mcp-ca-{id}");
            let volume = match bundle {
                CaBundle { config_map_key_ref: Some(KeyRef { name: from, key }), .. } => {
                    config_map(&name, from, Some((key, CA_FILE)))
                }
                CaBundle { secret_key_ref: Some(KeyRef { name: from, key }), .. } => {
                    secret(&name, from, Some((key, CA_FILE)))
                }
                CaBundle { config_map_key_ref: None, secret_key_ref: None } => return None,
            };
            let mount = read_only(&name, &format!("{CA_DIR}/{id}"));
            Some((volume, mount))
        })
        .collect();
    volumes.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    volumes.dedup();
    volumes
}

fn ca_id(bundle: &CaBundle) -> String {
    let CaBundle { config_map_key_ref, secret_key_ref } = bundle;
    let part = |kind: &str, reference: &Option<KeyRef>| {
        reference.as_ref().map(|KeyRef { name, key }| format!("{kind}/{name}/{key}")).unwrap_or_default()
    };
    let source = format!("{}{}", part("configmap", config_map_key_ref), part("secret", secret_key_ref));
    mcp_server_config::digest(&source).trim_start_matches("sha256:").chars().take(10).collect()
}

fn config_map(volume: &str, name: &str, item: Option<(&str, &str)>) -> Volume {
    let source =
        ConfigMapVolumeSource { name: name.to_owned(), items: item.map(only), ..ConfigMapVolumeSource::default() };
    Volume { name: volume.to_owned(), config_map: Some(source), ..Volume::default() }
}

fn secret(volume: &str, name: &str, item: Option<(&str, &str)>) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        items: item.map(only),
        default_mode: Some(PRIVATE),
        ..SecretVolumeSource::default()
    };
    Volume { name: volume.to_owned(), secret: Some(source), ..Volume::default() }
}

/// A little room to write: the root file system is read-only.
fn scratch(volume: &str) -> Volume {
    let source =
        EmptyDirVolumeSource { size_limit: Some(Quantity("64Mi".to_owned())), ..EmptyDirVolumeSource::default() };
    Volume { name: volume.to_owned(), empty_dir: Some(source), ..Volume::default() }
}

fn only((key, path): (&str, &str)) -> Vec<KeyToPath> {
    vec![KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }]
}

fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(volume, path) }
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}
