//! What one round of questions found.

use mcp_server_config::report::{BackendState, ServerReport};

use super::target::Target;
use crate::text::clean;

/// The answers of one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The live configuration that was expected.
    pub live_digest: String,
    /// Whether callers without a token were expected to be refused.
    pub enforced_auth: bool,
    /// What each pod said of itself.
    pub pods: Vec<PodAnswer>,
    /// What a caller without a token got. `None`: not asked, since a pod still had another configuration.
    pub anonymous: Option<Anonymous>,
    /// Rounds in a row in which something could not be asked.
    pub misses: u32,
}

/// What one pod said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAnswer {
    /// Its name.
    pub pod: String,
    /// It takes traffic.
    pub ready: bool,
    /// Its report, or why there is none.
    pub report: Result<ServerReport, String>,
}

/// What a caller without a token got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// An answer.
    Served,
    /// 401.
    Refused {
        /// With the address of the metadata, so that clients can get a token.
        metadata: bool,
    },
    /// Another status.
    Other(u16),
    /// Nobody is let in without a certificate of its own, and the operator has none: not asked.
    NotAdmitted,
    /// What the Service shows is no good certificate.
    BadCertificate(String),
    /// The server's own rate limit, which knows no operator: it answers, and tells no more.
    Limited,
    /// It could not be asked, or not now.
    Failed(String),
}

/// Why a runtime is not ready, by its own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The keys of an authorization server are missing.
    Issuer(String),
    /// The backend does not speak MCP with it.
    Backend(String),
}

impl Findings {
    /// Whether everything that takes traffic could be asked.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pods_answered() && !matches!(self.anonymous, Some(Anonymous::Failed(_)))
    }

    /// Whether every pod that takes traffic reported.
    #[must_use]
    pub fn pods_answered(&self) -> bool {
        self.pods.iter().filter(|pod| pod.ready).all(|pod| pod.report.is_ok())
    }

    /// Whether every pod that takes traffic has the configuration that was expected.
    #[must_use]
    pub fn is_reloaded(&self) -> bool {
        let mut ready = self.pods.iter().filter(|pod| pod.ready);
        ready.all(|pod| pod.report.as_ref().is_ok_and(|report| report.live.digest == self.live_digest))
    }

    /// Whether a caller without a token was answered under the configuration that `target` has.
    #[must_use]
    pub fn is_answered(&self, target: &Target) -> bool {
        let current = self.live_digest == target.live_digest && self.enforced_auth == target.enforces_auth;
        current && !matches!(self.anonymous, None | Some(Anonymous::Failed(_) | Anonymous::Limited))
    }

    /// The report of one pod, or why there is none. `None`: it was not asked.
    #[must_use]
    pub fn of_pod(&self, name: &str) -> Option<&Result<ServerReport, String>> {
        self.pods.iter().find(|answer| answer.pod == name).map(|answer| &answer.report)
    }

    /// The report that stands for the server: the first of the pods that take traffic.
    #[must_use]
    pub fn report(&self) -> Option<&ServerReport> {
        self.pods.iter().filter(|pod| pod.ready).find_map(|pod| pod.report.as_ref().ok())
    }

    /// Why pods are not ready, by their own account.
    #[must_use]
    pub fn trouble_of_unready(&self) -> Option<Trouble> {
        self.pods.iter().filter(|pod| !pod.ready).find_map(|pod| trouble(pod.report.as_ref().ok()?))
    }
}

/// What is wrong by a runtime's own account.
#[must_use]
pub fn trouble(report: &ServerReport) -> Option<Trouble> {
    if let Some(issuer) = report.issuers.iter().find(|issuer| !issuer.ok) {
        let why = issuer.error.as_deref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
        return Some(Trouble::Issuer(format!("the keys of issuer {} cannot be fetched{why}", clean(&issuer.url))));
    }
    if report.backend.state == BackendState::Failed {
        let why = report.backend.error.as_deref().map_or_else(|| "the handshake failed".to_owned(), clean);
        return Some(Trouble::Backend(format!("the backend does not answer as an MCP server: {why}")));
    }
    None
}
