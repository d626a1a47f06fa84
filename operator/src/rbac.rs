//! Every permission the operator needs, as one table. The chart's roles are generated from it, so a permission that is
//! not here does not exist.
//!
//! There is no wildcard, and no verb on roles, on `exec`, `attach` or `portforward`: who steals the operator's token
//! gains what is written here and nothing else.

/// One rule, as in a Role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resources of the group.
    pub resources: &'static [&'static str],
    /// Only objects with these names. Empty: any.
    pub names: &'static [&'static str],
    /// What may be done.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
}

/// Name of the Lease by which one operator of several is elected, in the chart's words: that of the release, as in
/// `--lease-name`. Two releases in one namespace elect one operator each.
const LEASE: &str = r#"{{ include "mcp-operator.name" . | quote }}"#;

/// Server-side apply of an object that does not exist needs `create` beside `patch`; who has a new child's name already is
/// looked up by `get`.
const APPLIED: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
const OBSERVED: &[&str] = &["list", "watch"];

/// In every namespace where servers are served.
pub const SERVED: &[Rule] = &[
    Rule {
        group: "mcp-operator.dev",
        resources: &["mcpservers"],
        names: &[],
        verbs: OBSERVED,
        why: "the servers; their spec is never written",
    },
    Rule {
        group: "mcp-operator.dev",
        resources: &["mcpservers/status"],
        names: &[],
        verbs: &["patch"],
        why: "their conditions",
    },
    Rule { group: "", resources: &["serviceaccounts", "services"], names: &[], verbs: APPLIED, why: "children" },
    Rule {
        group: "",
        resources: &["configmaps"],
        names: &[],
        verbs: APPLIED,
        why: "children; the metadata of all others is watched, because servers refer to them; those in a backend's environment are read",
    },
    Rule {
        group: "",
        resources: &["persistentvolumeclaims"],
        names: &[],
        verbs: OBSERVED,
        why: "whether those that servers mount exist, and may be written to from several nodes",
    },
    Rule {
        group: "batch",
        resources: &["jobs"],
        names: &[],
        verbs: &["get", "list", "watch", "create", "delete"],
        why: "migrations, created once for each change",
    },
    Rule { group: "apps", resources: &["deployments"], names: &[], verbs: APPLIED, why: "children" },
    Rule { group: "policy", resources: &["poddisruptionbudgets"], names: &[], verbs: APPLIED, why: "children" },
    Rule {
        group: "autoscaling",
        resources: &["horizontalpodautoscalers"],
        names: &[],
        verbs: APPLIED,
        why: "children",
    },
    Rule {
        group: "networking.k8s.io",
        resources: &["ingresses", "networkpolicies"],
        names: &[],
        verbs: APPLIED,
        why: "children",
    },
    Rule {
        group: "cert-manager.io",
        resources: &["certificates"],
        names: &[],
        verbs: APPLIED,
        why: "children of servers with TLS inside of the pod, where cert-manager is installed",
    },
    Rule {
        group: "gateway.networking.k8s.io",
        resources: &["httproutes"],
        names: &[],
        verbs: APPLIED,
        why: "children, where the Gateway API is installed",
    },
    Rule {
        group: "monitoring.coreos.com",
        resources: &["servicemonitors"],
        names: &[],
        verbs: APPLIED,
        why: "children, where the Prometheus operator is installed",
    },
    Rule {
        group: "",
        resources: &["pods"],
        names: &[],
        verbs: OBSERVED,
        why: "why a pod does not start, in the status",
    },
    Rule {
        group: "apps",
        resources: &["replicasets"],
        names: &[],
        verbs: OBSERVED,
        why: "which boot ConfigMaps are in use, and why pods are not created",
    },
    Rule {
        group: "discovery.k8s.io",
        resources: &["endpointslices"],
        names: &[],
        verbs: OBSERVED,
        why: "the addresses that are asked whether they serve",
    },
    Rule {
        group: "events.k8s.io",
        resources: &["events"],
        names: &[],
        verbs: &["create", "patch"],
        why: "one event for each transition",
    },
];

/// There too, by the chart's `secretAccess`; with `None` nothing.
pub const SECRETS: &[(&str, Rule)] = &[
    (
        "Full",
        Rule {
            group: "",
            resources: &["secrets"],
            names: &[],
            verbs: &["get", "list", "watch", "create", "patch"],
            why: "the generated keys are created, and changed when an annotation asks for it; the metadata of all others is watched, though list means read; those in a backend's environment, and authorities of tls.caBundle, are read",
        },
    ),
    (
        "NoGet",
        Rule {
            group: "",
            resources: &["secrets"],
            names: &[],
            verbs: &["list", "watch", "create", "patch"],
            why: "the generated keys are created, and changed when an annotation asks for it; the metadata of all others is watched, though list means read",
        },
    ),
];

/// What is in no namespace: only where the operator serves all of them.
pub const CLUSTER: &[Rule] = &[Rule {
    group: "networking.k8s.io",
    resources: &["ingressclasses"],
    names: &[],
    verbs: OBSERVED,
    why: "which controller serves a route",
}];

/// In the operator's own namespace.
pub const ELECTION: &[Rule] = &[
    Rule {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: &["create"],
        why: "electing the operator that works; a name cannot restrict create",
    },
    Rule {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[LEASE],
        verbs: &["get", "update"],
        why: "holding and handing over the election",
    },
];

/// Every rule there is.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    SERVED.iter().chain(SECRETS.iter().map(|(_, rule)| rule)).chain(CLUSTER).chain(ELECTION)
}
