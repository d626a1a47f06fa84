//! Why a reconcile did not reach its end: what was attempted, on which object, and what to do.

use std::time::Duration;

use crate::desired::Invalid;
use crate::kind::Kind;
use crate::status::Reason;

/// Why a reconcile did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object cannot be read by this release.
    #[error("the resource cannot be read: {0}; write it as `kubectl explain mcpserver.spec` says")]
    Unreadable(String),
    /// The spec cannot work.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// Objects that the spec names do not exist.
    #[error("{}", .0.join("; "))]
    Missing(Vec<String>),
    /// The ingress profile cannot be found out.
    #[error(
        "spec.expose.ingress.profile: Auto reads the IngressClass, which an operator for single namespaces cannot; name the profile"
    )]
    ProfileRequired,
    /// A same-named object belongs to somebody else.
    #[error("{kind} {name} exists and is not this server's ({holder}): delete or rename it, or rename the McpServer")]
    Conflict {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// An object of an earlier server with the same name is still there.
    #[error("{kind} {name} of an earlier McpServer with this name is still being deleted")]
    Terminating {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// Somebody keeps changing what we set.
    #[error("{kind} {name}: something else keeps changing {path}; it was repaired {times} times in ten minutes")]
    Contested {
        /// Kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
        /// The first field.
        path: String,
        /// How often it was repaired.
        times: usize,
    },
    /// The API server did not do what was asked.
    #[error("{action} {kind} {name}")]
    Api {
        /// What was asked.
        action: &'static str,
        /// Kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The status could not be written.
    #[error("write the status")]
    Status(#[source] Box<kube::Error>),
    /// An object could not be turned into JSON.
    #[error("render {kind} {name}")]
    Render {
        /// Kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The migrations are under way: the pods come after them.
    #[error("the new pods wait for Job {job}{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Migrating {
        /// The Job's name.
        job: String,
        /// What its pods said last, or what it waits for.
        why: Option<String>,
    },
    /// The migrations failed: the pods of before stay.
    #[error("Job {job} failed, so the pods stay as they are: {why}; delete the Job to try again")]
    MigrationFailed {
        /// The Job's name.
        job: String,
        /// What its pods said last, or what Kubernetes says.
        why: String,
    },
    /// The server's own keys are not usable.
    #[error(
        "Secret {name} has no key {key} of {} bytes or more: delete the Secret, and it is made anew (sessions end)",
        crate::desired::keys::KEY_BYTES
    )]
    Keys {
        /// The Secret's name.
        name: String,
        /// The key that is missing or too short.
        key: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("make the keys: no randomness: {0}")]
    Randomness(String),
    /// A bug of ours: this server fails, the others go on.
    #[error("the reconcile panicked, which is a bug of the operator: {0}; please report it")]
    Panicked(String),
    /// It took too long.
    #[error("the reconcile did not end in {} seconds: the API server answers slowly or not at all", .0.as_secs())]
    Deadline(Duration),
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A watch will wake us; the time is the safety net.
    After(Duration),
    /// Soon, then ever later.
    Backoff,
}

impl Error {
    /// The reason in conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unreadable(_) | Self::Invalid(_) => Reason::InvalidSpec,
            Self::Missing(_) => Reason::MissingReference,
            Self::ProfileRequired => Reason::ProfileRequired,
            Self::Conflict { .. } => Reason::Conflict,
            Self::Terminating { .. } => Reason::Terminating,
            Self::Contested { .. } => Reason::FieldContested,
            Self::Api { source, .. } | Self::Status(source) if is_namespace_ending(source) => Reason::Terminating,
            Self::Api { source, .. } | Self::Status(source) => match code(source) {
                Some(403) => Reason::Forbidden,
                Some(400 | 422) => Reason::Rejected,
                _ => Reason::ApplyFailed,
            },
            Self::Render { .. } | Self::Randomness(_) | Self::Keys { .. } | Self::Panicked(_) => Reason::ApplyFailed,
            Self::Migrating { .. } => Reason::Migrating,
            Self::MigrationFailed { .. } => Reason::MigrationFailed,
            Self::Deadline(_) => Reason::TimedOut,
        }
    }

    /// Whether the spec is at fault, not the writing of the children.
    #[must_use]
    pub fn refuses_spec(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Invalid(_) | Self::Missing(_) | Self::ProfileRequired)
    }

    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreadable(_) | Self::Invalid(_) | Self::Missing(_) | Self::ProfileRequired => {
                Retry::After(Duration::from_secs(600))
            }
            // A stranger's object has none of our labels: no watch tells when it goes.
            Self::Conflict { .. } => Retry::After(Duration::from_secs(30)),
            Self::Contested { .. } => Retry::After(Duration::from_secs(60)),
            // The Secret is watched, and so is the Job.
            Self::Keys { .. } | Self::Migrating { .. } | Self::MigrationFailed { .. } => {
                Retry::After(Duration::from_secs(600))
            }
            // The server itself goes next.
            Self::Api { source, .. } if is_namespace_ending(source) => Retry::After(Duration::from_secs(60)),
            Self::Terminating { .. }
            | Self::Api { .. }
            | Self::Status(_)
            | Self::Render { .. }
            | Self::Randomness(_)
            | Self::Panicked(_)
            | Self::Deadline(_) => Retry::Backoff,
        }
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn message(&self) -> String {
        let mut message = self.to_string();
        if let Self::Api { source, .. } | Self::Status(source) = self {
            message = format!("{message}: {}", answer(source));
        } else if let Some(source) = std::error::Error::source(self) {
            message = format!("{message}: {source}");
        }
        message
    }
}

/// The HTTP status of an answer.
#[must_use]
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether the API server refuses because the namespace is being deleted.
#[must_use]
pub fn is_namespace_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

fn answer(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
