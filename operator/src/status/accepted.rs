//! Whether the spec can work, and what to think of before it does.

use mcp_crds::{McpServer, McpServerSpec, SessionStore};

use super::{Observed, Reason, Verdict};

/// The verdict on a spec that was not refused.
pub(super) fn accepted(server: &McpServer, seen: &Observed) -> Verdict {
    // First: somebody waits for it.
    if seen.rotation_refused {
        return Verdict::yes(
            Reason::RotationRefused,
            "the operator was installed without access to Secrets and rotates no keys; make new ones in the server's Secret of keys yourself",
        );
    }
    let blind = server.spec.expose.as_ref().is_some_and(|expose| expose.trusted_proxies.is_empty());
    if blind && server.spec.rate_limits.per_client.requests > 0 {
        return Verdict::yes(
            Reason::ClientAddressUnknown,
            "behind a proxy that is not trusted all clients look alike: the per-client limit counts failed authentications only; name the proxy's networks in spec.expose.trustedProxies",
        );
    }
    if loses_sessions(&server.spec) {
        return Verdict::yes(
            Reason::SessionsInMemory,
            "several pods keep their sessions to themselves: clients of the 2025 revisions lose them when they meet another pod; set spec.redis, or run one pod",
        );
    }
    Verdict::yes(Reason::Accepted, "the spec can work")
}

/// Sessions of the 2025 revisions are in one pod's memory, and there are others.
fn loses_sessions(spec: &McpServerSpec) -> bool {
    let in_memory = match spec.sessions.store {
        Some(store) => store == SessionStore::Memory,
        None => spec.redis.is_none(),
    };
    let has_state = spec.backend.container.as_ref().is_none_or(|container| !container.stateless);
    let most = spec.autoscaling.as_ref().map_or(spec.replicas, |autoscaling| autoscaling.max_replicas);
    most > 1 && in_memory && has_state
}
