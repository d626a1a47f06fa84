//! What this process may use.

use std::fs;

/// The memory limit of this control group, version 2 or 1. `max` and absurd numbers are no limit.
pub(crate) fn limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .and_then(|text| text.trim().parse().ok())
        .filter(|limit| *limit < 1 << 50)
}
