//! State outside of the pods: sessions, which must survive a pod where there is more than one, redis and the database.

use k8s_openapi::api::core::v1 as core;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaBundle, KeyRef, PullPolicy, Resources, schema};

/// Sessions of the 2025 protocol revisions. The 2026-07-28 revision has none.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Memory keeps sessions in the pod; Redis lets any replica serve any session. Default: Redis when `redis` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<SessionStore>")]
    pub store: Option<SessionStore>,
    /// Seconds without a request after which a session ends.
    #[serde(default = "default_idle")]
    #[schemars(range(min = 10, max = 604_800))]
    pub idle_timeout_seconds: i32,
    /// Sessions at once in each pod. Default: what the runtime's memory limit allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: Option<i32>,
    /// Sessions at once of one principal: a token's issuer and subject, without a token the client's address. Of all pods
    /// together. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_per_principal: Option<i32>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { store: None, idle_timeout_seconds: default_idle(), max: None, max_per_principal: None }
    }
}

fn default_idle() -> i32 {
    1800
}

/// Where sessions are kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStore {
    /// In the pod that answered `initialize`.
    Memory,
    /// In the redis of `redis`.
    Redis,
}

/// The redis that replicas share: one server, one that sentinels watch over, or a cluster. Secrets are mounted, never read
/// by the operator.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.urlSecretRef), has(self.sentinel), has(self.cluster)].filter(set, set).size() == 1",
    "set exactly one of urlSecretRef, sentinel and cluster"
))]
#[x_kube(validation = (
    "!has(self.username) || has(self.passwordSecretRef) || has(self.urlSecretRef)",
    "username needs passwordSecretRef: a user without a password would be taken for no user"
))]
#[x_kube(validation = (
    "!has(self.tls) || ((!has(self.sentinel) || self.sentinel.urls.all(url, url.startsWith('rediss://'))) && (!has(self.cluster) || self.cluster.urls.all(url, url.startsWith('rediss://'))))",
    "tls needs URLs that begin with rediss://: redis:// has no TLS"
))]
pub struct Redis {
    /// Secret key with the URL of the one server: redis://[user:password@]host:port/database, or rediss:// for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<KeyRef>,
    /// Sentinels, which know which server is the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<RedisSentinel>,
    /// A redis cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<RedisCluster>,
    /// User of the servers (ACL). Stronger than the URL's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// Secret key with the password of the servers. Stronger than the URL's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<KeyRef>,
    /// Certificates for rediss://. Without it the public authorities are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// Connections of each pod at most, to each server of a cluster.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_connections: i32,
    /// Seconds after which a command without answer has failed.
    #[serde(default = "default_socket_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub socket_timeout_seconds: i32,
}

/// Sentinels, which know which server is the master.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.username) || has(self.passwordSecretRef)",
    "username needs passwordSecretRef: a user without a password would be taken for no user"
))]
pub struct RedisSentinel {
    /// Name under which the sentinels know the master.
    #[schemars(length(min = 1, max = 256))]
    pub master: String,
    /// The sentinels, as in redis://redis-sentinel:26379, or rediss:// where sentinels and servers have TLS. A database at
    /// the end is that of the servers.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set, validation = (REDIS_URLS_RULE, REDIS_URLS_MESSAGE))]
    pub urls: Vec<String>,
    /// User of the sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// Secret key with the password of the sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<KeyRef>,
}

/// A redis cluster.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RedisCluster {
    /// Some of its servers, from which the others are learned, as in redis://redis-cluster:6379, or rediss:// for TLS.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set, validation = (REDIS_URLS_RULE, REDIS_URLS_MESSAGE))]
    pub urls: Vec<String>,
}

/// No user and password: they would stand in a ConfigMap. And one scheme: TLS with some servers only is a mistake.
const REDIS_URLS_RULE: &str = concat!(
    r"self.all(url, url.matches('^redis://[^@/?#\\s]+(/[0-9]{1,4})?$')) || ",
    r"self.all(url, url.matches('^rediss://[^@/?#\\s]+(/[0-9]{1,4})?$'))"
);
const REDIS_URLS_MESSAGE: &str = "write redis://host:port, or rediss://host:port in all of them for TLS; users and passwords are fields of their own";

/// Certificates of connections to redis.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RedisTls {
    /// Certificate authorities of the servers. Default: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Secret of type kubernetes.io/tls with the certificate that the servers ask for. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub client_secret_name: Option<String>,
}

fn default_connections() -> i32 {
    50
}

fn default_socket_timeout() -> i32 {
    5
}

/// The PostgreSQL database of the server. Its connections are pooled; `/health` asks it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Secret key with the URL: postgresql://[user:password@]host[:port]/database. Mounted, never read by the operator.
    pub url_secret_ref: KeyRef,
    /// Connections that each pod keeps open.
    #[serde(default = "default_pool_size")]
    #[schemars(range(min = 1, max = 5000))]
    pub pool_size: i32,
    /// Connections beyond `poolSize` under load; each is closed after its use.
    #[serde(default = "default_max_overflow")]
    #[schemars(range(min = 0, max = 5000))]
    pub max_overflow: i32,
    /// Log each statement, without the values bound to it.
    #[serde(default)]
    pub echo: bool,
    /// What brings the database to what new pods expect, as a Job: once for each change of image, command, arguments or
    /// environment, before the new pods. While it runs and when it fails the pods of before stay. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
}

/// A Job before the roll-out. It must do no harm when it runs twice: it is tried again when it fails, and after a
/// restore of the cluster.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Migrations {
    /// Image with the migrations. Default: that of `backend.container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (schema::IMAGE_RULE, schema::IMAGE_MESSAGE))]
    pub image: Option<String>,
    /// When to pull the image. Default: Kubernetes' rule (Always for the tag latest, else IfNotPresent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<PullPolicy>")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Command in place of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub command: Vec<String>,
    /// Arguments of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub args: Vec<String>,
    /// Environment variables beside DATABASE_URL, which is the URL of the database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), schema_with = "schema::list_of::<core::EnvVar>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<core::EnvVar>,
    /// Whole ConfigMaps and Secrets as environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), schema_with = "schema::list_of::<core::EnvFromSource>")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub env_from: Vec<core::EnvFromSource>,
    /// Compute resources. Default: requests 100m CPU and 128Mi, limit 512Mi of memory.
    #[serde(default = "crate::backend::default_resources")]
    pub resources: Resources,
    /// Seconds after which the Job has failed.
    #[serde(default = "default_migration_timeout")]
    #[schemars(range(min = 1, max = 86400))]
    pub timeout_seconds: i32,
    /// How often a failed pod is replaced before the Job has failed.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 20))]
    pub backoff_limit: i32,
    /// Seconds after which a Job that has ended is removed. One that failed is tried anew then, or when you delete it.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 60, max = 604_800))]
    pub ttl_seconds_after_finished: i32,
}

fn default_migration_timeout() -> i32 {
    600
}

fn default_backoff_limit() -> i32 {
    3
}

fn default_ttl() -> i32 {
    3600
}

fn default_pool_size() -> i32 {
    20
}

fn default_max_overflow() -> i32 {
    10
}
