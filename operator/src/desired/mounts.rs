//! Files of the runtime's container: where each comes from and where the configuration finds it.
//!
//! Everything is a directory mount without `subPath`, so that the kubelet's updates reach the running process. Volume
//! names begin with `mcp-`; the user's cannot.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mcp_crds::{CaBundle, KeyRef, McpServerSpec, Redis};

use super::Identity;
use super::identity::short_digest;

/// Key of the boot ConfigMap.
pub const BOOT_FILE: &str = "config.yaml";
/// Key of the live ConfigMap.
pub const LIVE_FILE: &str = "live.yaml";
/// Key of the live ConfigMap beside it: the number of pods.
pub const REPLICAS_FILE: &str = "replicas";
/// Directory of the generated keys.
pub const KEYS_DIR: &str = "/etc/mcp-server/keys";
/// File with the certificate of `spec.tls`.
pub const CERTIFICATE_FILE: &str = "/etc/mcp-server/tls/tls.crt";
/// File with its key.
pub const CERTIFICATE_KEY_FILE: &str = "/etc/mcp-server/tls/tls.key";
/// File with the redis URL.
pub const REDIS_URL_FILE: &str = "/etc/mcp-server/redis/url";
/// File with the password of the redis servers.
pub const REDIS_PASSWORD_FILE: &str = "/etc/mcp-server/redis-password/password";
/// File with the password of the sentinels.
pub const SENTINEL_PASSWORD_FILE: &str = "/etc/mcp-server/redis-sentinel/password";
/// File with the certificate that redis asks for.
pub const REDIS_CLIENT_CERTIFICATE_FILE: &str = "/etc/mcp-server/redis-client/tls.crt";
/// File with the key of that certificate.
pub const REDIS_CLIENT_KEY_FILE: &str = "/etc/mcp-server/redis-client/tls.key";
/// File with the URL of the database.
pub const DATABASE_URL_FILE: &str = "/etc/mcp-server/database/url";
/// File with headers for the collector of traces.
pub const OTLP_HEADERS_FILE: &str = "/etc/mcp-server/otlp/headers";
/// Directory of log files: the one place where the runtime writes to a volume of the user's.
pub const LOG_DIR: &str = "/var/log/mcp-server";

const BOOT_DIR: &str = "/etc/mcp-server/boot";
const LIVE_DIR: &str = "/etc/mcp-server/live";
const TLS_DIR: &str = "/etc/mcp-server/tls";
const REDIS_DIR: &str = "/etc/mcp-server/redis";
const REDIS_PASSWORD_DIR: &str = "/etc/mcp-server/redis-password";
const SENTINEL_DIR: &str = "/etc/mcp-server/redis-sentinel";
const REDIS_CLIENT_DIR: &str = "/etc/mcp-server/redis-client";
const DATABASE_DIR: &str = "/etc/mcp-server/database";
const OTLP_DIR: &str = "/etc/mcp-server/otlp";
const CLIENTS_DIR: &str = "/etc/mcp-server/clients";
const CLIENT_SECRET_FILE: &str = "secret";
const CA_DIR: &str = "/etc/mcp-server/ca";
const CA_FILE: &str = "ca.crt";
/// Hexadecimal digits that tell the sources of files apart.
const SOURCE_DIGITS: usize = 10;

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

/// Where the runtime finds the secret of the client as which it asks an issuer. Named by its source, as bundles are.
#[must_use]
pub fn client_secret_file(secret: &KeyRef) -> String {
    format!("{CLIENTS_DIR}/{}/{CLIENT_SECRET_FILE}", client_id(secret))
}

/// The user's volume for log files.
#[must_use]
pub fn logs(spec: &McpServerSpec) -> Option<VolumeMount> {
    spec.observability.log_volume.as_ref().map(|volume| mount(volume, LOG_DIR))
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
    if let Some(tls) = &spec.tls {
        mounts.push((secret("mcp-tls", &tls.secret_name, None), read_only("mcp-tls", TLS_DIR)));
    }
    mounts.extend(spec.redis.as_deref().into_iter().flat_map(redis));
    if let Some(database) = &spec.database {
        mounts.push(key("mcp-database", &database.url_secret_ref, "url", DATABASE_DIR));
    }
    if let Some(headers) = spec.observability.otlp.as_ref().and_then(|otlp| otlp.headers_secret_ref.as_ref()) {
        mounts.push(key("mcp-otlp", headers, "headers", OTLP_DIR));
    }
    mounts.extend(client_secrets(spec));
    mounts.extend(authorities(spec));
    mounts
}

fn redis(redis: &Redis) -> Vec<(Volume, VolumeMount)> {
    let Redis { url_secret_ref, sentinel, cluster: _, username: _, password_secret_ref, tls, .. } = redis;
    let sentinel = sentinel.as_ref().and_then(|sentinel| sentinel.password_secret_ref.as_ref());
    let client = tls.as_ref().and_then(|tls| tls.client_secret_name.as_deref());
    let keys = [
        url_secret_ref.as_ref().map(|url| key("mcp-redis", url, "url", REDIS_DIR)),
        password_secret_ref
            .as_ref()
            .map(|password| key("mcp-redis-password", password, "password", REDIS_PASSWORD_DIR)),
        sentinel.map(|password| key("mcp-redis-sentinel", password, "password", SENTINEL_DIR)),
        client.map(|name| (secret("mcp-redis-client", name, None), read_only("mcp-redis-client", REDIS_CLIENT_DIR))),
    ];
    keys.into_iter().flatten().collect()
}

/// One key of a Secret as the one file of a directory.
fn key(volume: &str, KeyRef { name, key }: &KeyRef, file: &str, dir: &str) -> (Volume, VolumeMount) {
    (secret(volume, name, Some((key, file))), read_only(volume, dir))
}

/// One volume a secret, however many issuers know the client.
fn client_secrets(spec: &McpServerSpec) -> Vec<(Volume, VolumeMount)> {
    let issuers = spec.auth.iter().flat_map(|auth| &auth.issuers);
    let secrets = issuers.filter_map(|issuer| Some(&issuer.introspection.as_ref()?.client_secret_ref));
    distinct(secrets.map(|secret| {
        let id = client_id(secret);
        key(&format!("mcp-client-{id}"), secret, CLIENT_SECRET_FILE, &format!("{CLIENTS_DIR}/{id}"))
    }))
}

/// In an order that does not depend on the issuers'.
fn distinct(volumes: impl Iterator<Item = (Volume, VolumeMount)>) -> Vec<(Volume, VolumeMount)> {
    let mut volumes: Vec<_> = volumes.collect();
    volumes.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    volumes.dedup();
    volumes
}

/// One volume a bundle, however many use it.
fn authorities(spec: &McpServerSpec) -> Vec<(Volume, VolumeMount)> {
    let issuers = spec.auth.iter().flat_map(|auth| &auth.issuers).filter_map(|issuer| issuer.ca_bundle.as_ref());
    let redis = spec.redis.iter().filter_map(|redis| redis.tls.as_ref()?.ca_bundle.as_ref());
    let clients = spec.tls.iter().filter_map(|tls| tls.client_ca.as_ref());
    distinct(issuers.chain(redis).chain(clients).filter_map(bundle))
}

fn bundle(bundle: &CaBundle) -> Option<(Volume, VolumeMount)> {
    let id = ca_id(bundle);
    let name = format!("mcp-ca-{id}");
    let volume = match bundle {
        CaBundle { config_map_key_ref: Some(KeyRef { name: from, key }), .. } => {
            config_map(&name, from, Some((key, CA_FILE)))
        }
        CaBundle { secret_key_ref: Some(KeyRef { name: from, key }), .. } => secret(&name, from, Some((key, CA_FILE))),
        CaBundle { config_map_key_ref: None, secret_key_ref: None } => return None,
    };
    let mount = read_only(&name, &format!("{CA_DIR}/{id}"));
    Some((volume, mount))
}

fn ca_id(bundle: &CaBundle) -> String {
    let CaBundle { config_map_key_ref, secret_key_ref } = bundle;
    let part = |kind: &str, reference: &Option<KeyRef>| {
        reference.as_ref().map(|KeyRef { name, key }| format!("{kind}/{name}/{key}")).unwrap_or_default()
    };
    short_digest(&format!("{}{}", part("configmap", config_map_key_ref), part("secret", secret_key_ref)), SOURCE_DIGITS)
}

fn client_id(KeyRef { name, key }: &KeyRef) -> String {
    short_digest(&format!("{name}/{key}"), SOURCE_DIGITS)
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
