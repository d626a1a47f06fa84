//! The redis that replicas share: one server, one that sentinels watch over, or a cluster.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::check::{invalid, positive};

/// The redis that replicas share. Exactly one of `url`, `url_file`, `sentinel` and `cluster`. Files of secrets and
/// certificates are read again when they change.
#[derive(Serialize, Deserialize, JsonSchema, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// URL: redis://[user:password@]host:port/database, or rediss:// for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File with the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Sentinels know which server is the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// A redis cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// User of the servers (ACL). Stronger than the URL's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password of the servers. Stronger than the URL's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM file of the certificate authorities of the servers, for rediss://. Default: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate that the servers ask for. Together with `client_key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_file: Option<PathBuf>,
    /// PEM file of the key of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// Connections at most, to each server of a cluster. Commands are pipelined over one for each processor; the others
    /// are for reads that wait.
    #[serde(default = "default_connections")]
    pub max_connections: u32,
    /// Seconds after which a command without answer has failed.
    #[serde(default = "default_socket_timeout")]
    pub socket_timeout: u32,
    /// Begins every key, so that servers which share a redis never meet. Default: `mcp:` and the server's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
}

/// Sentinels, which know which server is the master.
#[derive(Serialize, Deserialize, JsonSchema, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    /// Name under which the sentinels know the master.
    pub master: String,
    /// The sentinels: redis://host:26379, or rediss:// where sentinels and servers have TLS. A database at the end is that of
    /// the servers.
    pub urls: Vec<String>,
    /// User of the sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password of the sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// A redis cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Some of its servers, from which the others are learned: redis://host:6379, or rediss:// for TLS.
    pub urls: Vec<String>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            sentinel: None,
            cluster: None,
            username: None,
            password_file: None,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            max_connections: default_connections(),
            socket_timeout: default_socket_timeout(),
            key_prefix: None,
        }
    }
}

fn default_connections() -> u32 {
    50
}

fn default_socket_timeout() -> u32 {
    5
}

impl fmt::Debug for Redis {
    /// Without URLs, which may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            url_file,
            sentinel,
            cluster,
            username,
            password_file,
            ca_file,
            client_certificate_file,
            client_key_file,
            max_connections,
            socket_timeout,
            key_prefix,
        } = self;
        formatter
            .debug_struct("Redis")
            .field("url", &url.as_ref().map(|_| "redacted"))
            .field("url_file", url_file)
            .field("sentinel", &sentinel.as_ref().map(|sentinel| &sentinel.master))
            .field("cluster", &cluster.as_ref().map(|cluster| cluster.urls.len()))
            .field("username", username)
            .field("password_file", password_file)
            .field("ca_file", ca_file)
            .field("client_certificate_file", client_certificate_file)
            .field("client_key_file", client_key_file)
            .field("max_connections", max_connections)
            .field("socket_timeout", socket_timeout)
            .field("key_prefix", key_prefix)
            .finish()
    }
}

impl fmt::Debug for Sentinel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sentinel").field("master", &self.master).finish_non_exhaustive()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Redis {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let Self {
            url,
            url_file,
            sentinel,
            cluster,
            username,
            password_file,
            ca_file,
            client_certificate_file,
            client_key_file,
            max_connections,
            socket_timeout,
            key_prefix: _,
        } = self;
        let ways = [
            ("url", url.is_some()),
            ("url_file", url_file.is_some()),
            ("sentinel", sentinel.is_some()),
            ("cluster", cluster.is_some()),
        ];
        let given: Vec<_> = ways.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        match given[..] {
            [] => {
                return invalid("redis: none of `url`, `url_file`, `sentinel` and `cluster` is given: write one");
            }
            [first, second, ..] => {
                return invalid(format!("redis: `{first}` and `{second}` are both given: remove one"));
            }
            [_] => {}
        }
        let mut urls: Vec<(String, &str)> = Vec::new();
        urls.extend(url.iter().map(|url| ("redis.url".to_owned(), url.as_str())));
        if let Some(Sentinel { master, urls: sentinels, username, password_file }) = sentinel {
            if master.is_empty() {
                return invalid("redis.sentinel.master: it is empty: write the name that the sentinels know it by");
            }
            check_user("redis.sentinel", username.as_deref(), password_file.is_some())?;
            urls.extend(listed("redis.sentinel.urls", sentinels)?);
        }
        if let Some(Cluster { urls: servers }) = cluster {
            urls.extend(listed("redis.cluster.urls", servers)?);
        }
        let tls = check_urls(&urls)?;

        let password = password_file.is_some() || url_file.is_some() || urls.iter().any(|(_, url)| has_password(url));
        check_user("redis", username.as_deref(), password)?;
        if client_certificate_file.is_some() != client_key_file.is_some() {
            return invalid(
                "redis: `client_certificate_file` and `client_key_file` go together: write both, or neither",
            );
        }
        let files = [("ca_file", ca_file), ("client_certificate_file", client_certificate_file)];
        if let Some((field, _)) = files.iter().find(|(_, file)| file.is_some() && tls == Some(false)) {
            return invalid(format!(
                "redis.{field}: the URL begins with redis://, which has no TLS: write rediss://, or remove {field}"
            ));
        }
        positive("redis.max_connections", *max_connections)?;
        positive("redis.socket_timeout", *socket_timeout)
    }
}

fn listed<'a>(field: &str, urls: &'a [String]) -> Result<Vec<(String, &'a str)>, Invalid> {
    if urls.is_empty() {
        return invalid(format!("{field}: it is empty: write one URL or more, as in redis://host:port"));
    }
    Ok(urls.iter().enumerate().map(|(index, url)| (format!("{field}[{index}]"), url.as_str())).collect())
}

/// Whether they have TLS; `None` where they are not known yet. No URL is shown: it may hold a password.
fn check_urls(urls: &[(String, &str)]) -> Result<Option<bool>, Invalid> {
    let mut all = None;
    for (field, url) in urls {
        let tls = url.starts_with("rediss://");
        if !tls && !url.starts_with("redis://") {
            return invalid(format!("{field}: it begins with neither redis:// nor rediss://"));
        }
        if all.is_some_and(|all| all != tls) {
            return invalid(format!(
                "{field}: some URLs have TLS and some have not: write redis:// or rediss:// in all"
            ));
        }
        all = Some(tls);
    }
    Ok(all)
}

/// An ACL user without a password would be taken for no user at all.
fn check_user(section: &str, username: Option<&str>, password: bool) -> Result<(), Invalid> {
    match username {
        Some("") => invalid(format!("{section}.username: it is empty: write the user, or remove it")),
        Some(_) if !password => invalid(format!(
            "{section}.username: there is no password for it: write {section}.password_file, or remove the user"
        )),
        _ => Ok(()),
    }
}

fn has_password(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| url.password().is_some())
}
