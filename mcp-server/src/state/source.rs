//! The URL of redis: from the configuration, or from a file that is read again when it changes. A URL has a password;
//! nothing here shows it.

use std::path::PathBuf;
use std::time::Duration;

use mcp_server_config::Redis as Section;
use redis::IntoConnectionInfo as _;
use redis::io::tcp::TcpSettings;

/// Where the URL comes from.
pub(super) enum Source {
    Url(String),
    File(PathBuf),
}

impl Source {
    pub(super) fn of(section: &Section) -> Result<Self, String> {
        match (&section.url, &section.url_file) {
            (Some(url), None) => Ok(Self::Url(url.clone())),
            (None, Some(path)) => Ok(Self::File(path.clone())),
            (Some(_), Some(_)) => Err("both `url` and `url_file` are set: keep one".to_owned()),
            (None, None) => Err("neither `url` nor `url_file` is set: give one".to_owned()),
        }
    }

    /// The URL as it is now.
    pub(super) async fn url(&self) -> Result<String, String> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => Ok(text.trim().to_owned()),
                Err(error) => Err(format!("url_file {} cannot be read: {error}", path.display())),
            },
        }
    }

    pub(super) fn may_change(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// A client for that URL; nothing is connected yet. What the other end has not received within `timeout` breaks the
/// connection.
pub(super) fn client(url: &str, timeout: Duration) -> Result<redis::Client, String> {
    // The library's own errors may quote the URL.
    let refused =
        || "the URL is not one of redis: write redis://[user:password@]host[:port][/database], or rediss://".to_owned();
    let info = url.into_connection_info().map_err(|_| refused())?;
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(timeout);
    redis::Client::open(info.set_tcp_settings(tcp)).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn a_wrong_url_is_not_quoted() {
        let error = client("redis//:secret@host", TIMEOUT).map(|_| ()).expect_err("refused");
        assert!(!error.contains("secret"), "{error}");
        assert!(error.contains("redis://"), "{error}");
    }

    #[test]
    fn the_usual_forms_are_accepted() {
        for url in ["redis://host", "redis://:secret@host:6380/2", "rediss://user:secret@host", "redis://[::1]:6379"] {
            assert!(client(url, TIMEOUT).is_ok(), "{url}");
        }
    }
}
