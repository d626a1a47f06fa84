//! How many sessions fit: each is a task, channels and the last events of its streams.

use crate::mcp::memory;

/// What one session may need, with generous headroom.
const BYTES_PER_SESSION: u64 = 64 * 1024;
/// The part of the memory limit that sessions may take.
const SHARE: u64 = 4;
const LEAST: u64 = 64;
const MOST: u64 = 10_000;

/// The default of `sessions.max`: what the memory limit of this process allows.
pub(super) fn default_max() -> usize {
    max_for(memory::limit())
}

fn max_for(limit: Option<u64>) -> usize {
    let sessions = limit.map_or(MOST, |limit| (limit / SHARE / BYTES_PER_SESSION).clamp(LEAST, MOST));
    usize::try_from(sessions).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::max_for;

    #[test]
    fn sessions_take_a_quarter_of_the_memory() {
        assert_eq!(max_for(Some(512 * 1024 * 1024)), 2048);
        assert_eq!(max_for(Some(1)), 64);
        assert_eq!(max_for(None), 10_000);
    }
}
