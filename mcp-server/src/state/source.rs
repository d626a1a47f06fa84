//! What redis is to be connected to: from the configuration, and from files that are read again when they change. There
//! are passwords in it; nothing here shows it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_server_config::{Redis as Section, Sentinel};
use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates, TlsMode,
};
use tokio::sync::Mutex;

use super::link::Connector;

/// A command to a cluster is tried so often again: on another server when its slot has moved, or when one does not answer.
const CLUSTER_RETRIES: u32 = 3;
/// Milliseconds between them, at least and at most.
const CLUSTER_RETRY_AFTER: (u64, u64) = (10, 200);

/// Where the target comes from.
pub(super) struct Source(Section);

/// What to connect to, as the files say it now.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    servers: Servers,
    username: Option<String>,
    password: Option<String>,
    ca: Option<Vec<u8>>,
    /// Certificate and key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Servers {
    One(String),
    Sentinel { master: String, urls: Vec<String>, username: Option<String>, password: Option<String> },
    Cluster(Vec<String>),
}

impl Source {
    pub(super) fn of(section: &Section) -> Self {
        Self(section.clone())
    }

    /// Reads the files.
    pub(super) async fn read(&self) -> Result<Target, String> {
        let section = &self.0;
        let servers = match (&section.url, &section.url_file, &section.sentinel, &section.cluster) {
            (Some(url), None, None, None) => Servers::One(url.clone()),
            (None, Some(file), None, None) => Servers::One(text("url_file", file).await?),
            (None, None, Some(Sentinel { master, urls, username, password_file }), None) => Servers::Sentinel {
                master: master.clone(),
                urls: urls.clone(),
                username: username.clone(),
                password: optional("sentinel.password_file", password_file.as_ref()).await?,
            },
            (None, None, None, Some(cluster)) => Servers::Cluster(cluster.urls.clone()),
            _ => return Err("give exactly one of `url`, `url_file`, `sentinel` and `cluster`".to_owned()),
        };
        let certificate = bytes("client_certificate_file", section.client_certificate_file.as_ref()).await?;
        let key = bytes("client_key_file", section.client_key_file.as_ref()).await?;
        Ok(Target {
            servers,
            username: section.username.clone(),
            password: optional("password_file", section.password_file.as_ref()).await?,
            ca: bytes("ca_file", section.ca_file.as_ref()).await?,
            identity: certificate.zip(key),
        })
    }
}

impl Target {
    /// Checks it; nothing is connected yet. What the other end has not received within `timeout` breaks a connection.
    pub(super) fn connector(&self, timeout: Duration) -> Result<Connector, String> {
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(timeout);
        match &self.servers {
            Servers::One(url) => self.node(url, tcp).map(Connector::Node),
            Servers::Sentinel { master, urls, username, password } => {
                let client = self.sentinels(master, urls, (username.as_deref(), password.as_deref()), tcp)?;
                Ok(Connector::Sentinel(Mutex::new(client)))
            }
            Servers::Cluster(urls) => self.cluster(urls, tcp, timeout).map(Connector::Cluster),
        }
    }

    fn node(&self, url: &str, tcp: TcpSettings) -> Result<Client, String> {
        let info = self.info(url)?.set_tcp_settings(tcp);
        let client = match self.certificates(&info)? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        client.map_err(|_| wrong_certificates())
    }

    fn sentinels(
        &self,
        master: &str,
        urls: &[String],
        (username, password): (Option<&str>, Option<&str>),
        tcp: TcpSettings,
    ) -> Result<SentinelClient, String> {
        let infos = urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        let first = infos.first().ok_or("sentinel.urls: it is empty")?;
        let certificates = self.certificates(first)?;
        let database = first.redis_settings().db();
        let with_tls = is_tls(first);
        let addresses = infos.iter().map(|info| info.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)
            .map_err(|_| "sentinel: it cannot be used".to_owned())?
            .set_client_to_redis_tcp_settings(tcp.clone())
            .set_client_to_sentinel_tcp_settings(tcp)
            .set_client_to_redis_db(database);
        if let Some(username) = &self.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        // The URLs are those of the sentinels, and so are a user and a password in them.
        if let Some(username) = username.or(first.redis_settings().username()) {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = password.or(first.redis_settings().password()) {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if with_tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        builder.build().map_err(|_| wrong_certificates())
    }

    fn cluster(&self, urls: &[String], tcp: TcpSettings, timeout: Duration) -> Result<ClusterClient, String> {
        let infos = urls.iter().map(|url| self.info(url)).collect::<Result<Vec<_>, _>>()?;
        let certificates = infos.first().map(|info| self.certificates(info)).transpose()?.flatten();
        let mut builder = ClusterClient::builder(infos)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(CLUSTER_RETRY_AFTER.0)
            .max_retry_wait(CLUSTER_RETRY_AFTER.1)
            .connection_timeout(timeout)
            .response_timeout(timeout)
            .overall_response_timeout(None)
            .tcp_settings(tcp);
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        builder.build().map_err(|_| {
            "cluster: its URLs differ in user, password, database or TLS, or a certificate or key file is wrong"
                .to_owned()
        })
    }

    /// A URL of a server, with the credentials that are stronger than its own.
    fn info(&self, url: &str) -> Result<ConnectionInfo, String> {
        let info = parse(url)?;
        let mut settings = info.redis_settings().clone();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        Ok(info.set_redis_settings(settings))
    }

    /// `None`: the public authorities, and no certificate of ours.
    fn certificates(&self, info: &ConnectionInfo) -> Result<Option<TlsCertificates>, String> {
        if self.ca.is_none() && self.identity.is_none() {
            return Ok(None);
        }
        if !is_tls(info) {
            return Err("the URL begins with redis://, which has no TLS: write rediss://, or remove `ca_file` and \
                        `client_certificate_file`"
                .to_owned());
        }
        let client_tls =
            self.identity.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Ok(Some(TlsCertificates { client_tls, root_cert: self.ca.clone() }))
    }
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// The library's own errors may quote the URL.
fn parse(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|_| {
        "the URL is not one of redis: write redis://[user:password@]host[:port][/database], or rediss://".to_owned()
    })
}

fn wrong_certificates() -> String {
    "`ca_file`, `client_certificate_file` or `client_key_file` is no PEM file of what its name says".to_owned()
}

async fn text(field: &str, file: &Path) -> Result<String, String> {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("{field} {} cannot be read: {error}", file.display())),
    }
}

async fn optional(field: &str, file: Option<&PathBuf>) -> Result<Option<String>, String> {
    match file {
        Some(file) => text(field, file).await.map(Some),
        None => Ok(None),
    }
}

async fn bytes(field: &str, file: Option<&PathBuf>) -> Result<Option<Vec<u8>>, String> {
    let Some(file) = file else { return Ok(None) };
    let read = tokio::fs::read(file).await;
    read.map(Some).map_err(|error| format!("{field} {} cannot be read: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connector(section: Section) -> Result<Connector, String> {
        Source::of(&section).read().await?.connector(Duration::from_secs(5))
    }

    fn at(url: &str) -> Section {
        Section { url: Some(url.to_owned()), ..Section::default() }
    }

    #[tokio::test]
    async fn a_wrong_url_is_not_quoted() {
        let error = connector(at("redis//:secret@host")).await.map(|_| ()).expect_err("refused");
        assert!(!error.contains("secret"), "{error}");
        assert!(error.contains("redis://"), "{error}");
    }

    #[tokio::test]
    async fn the_usual_forms_are_accepted() {
        for url in ["redis://host", "redis://:secret@host:6380/2", "rediss://user:secret@host", "redis://[::1]:6379"] {
            assert!(connector(at(url)).await.is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_named_with_its_field() {
        let section = Section { password_file: Some("/nowhere/password".into()), ..at("redis://host") };
        let error = connector(section).await.map(|_| ()).expect_err("refused");
        assert!(error.starts_with("password_file /nowhere/password cannot be read"), "{error}");
    }

    #[tokio::test]
    async fn an_authority_without_tls_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, "nonsense").expect("written");
        let with_ca = |url| Section { ca_file: Some(file.clone()), ..at(url) };
        let error = connector(with_ca("redis://host")).await.map(|_| ()).expect_err("refused");
        assert!(error.contains("write rediss://"), "{error}");
    }
}
