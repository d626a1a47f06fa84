//! What an error of redis says about redis.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing: redis is there and does not like the command.
    Command,
    /// Wait: redis is there and cannot serve now.
    Server,
    /// Connect anew: this connection is broken, or at the wrong server.
    Connection,
    /// The same, and nothing at all was heard.
    Silence,
    /// Connect anew with what the files say now: we were not let in.
    Credentials,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [Self::Command, Self::Server, Self::Connection, Self::Silence, Self::Credentials];

    /// A label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Command => "refused",
            Self::Server => "busy",
            Self::Connection => "connection",
            Self::Silence => "timeout",
            Self::Credentials => "credentials",
        }
    }

    pub(super) fn of(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Silence;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Credentials,
            ErrorKind::UnexpectedReturnType | ErrorKind::Client | ErrorKind::InvalidClientConfig => Self::Command,
            ErrorKind::Server(kind) => Self::of_server(kind),
            ErrorKind::Extension => match error.code() {
                Some("NOAUTH" | "WRONGPASS") => Self::Credentials,
                Some("WRONGTYPE") => Self::Command,
                _ => Self::Server,
            },
            _ => Self::Connection,
        }
    }

    fn of_server(kind: ServerErrorKind) -> Self {
        match kind {
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown => Self::Connection,
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask => Self::Server,
            _ => Self::Command,
        }
    }
}
