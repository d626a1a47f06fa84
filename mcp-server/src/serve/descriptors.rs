//! Sockets are file descriptors, and so is everything else that requests need: the connections to backend, redis and
//! issuers, the files that are reloaded. Who floods us with connections must not take the last one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises the process's limit as far as it may be, as its soft part is often small for the sake of programs that use
/// `select`. Returns how many connections there may be.
pub(super) fn room(wanted: u32) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit at all.
    let raised = current.is_some() && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    let room = share(limit, wanted);
    if room < wanted as usize {
        warn!(
            open_files = limit,
            connections = room,
            wanted,
            "the limit of open files leaves less room than server.max_connections"
        );
    }
    room
}

/// Half of the descriptors: a call through the proxy needs a second one.
fn share(limit: Option<u64>, wanted: u32) -> usize {
    let half = limit.map_or(u64::MAX, |limit| limit / 2).max(1);
    usize::try_from(half.min(wanted.into())).unwrap_or(wanted as usize)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn connections_leave_half_of_the_descriptors_to_others() {
        assert_eq!(share(Some(1024), 8192), 512);
        assert_eq!(share(Some(1 << 20), 8192), 8192);
        assert_eq!(share(None, 8192), 8192);
        assert_eq!(share(Some(0), 8192), 1);
    }
}
