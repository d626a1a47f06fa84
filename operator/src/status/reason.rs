//! The reasons of conditions. They are API: people write alerts on them. Messages may change, reasons may not.

/// Declares the reasons with their documentation, so that code and docs/conditions.md are one.
macro_rules! reasons {
    ($($name:ident: $conditions:literal, $meaning:literal, $remedy:literal;)+) => {
        /// Why a condition has its status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The reason as it stands in a condition.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The conditions, each with its status, that it belongs to.
            #[must_use]
            pub fn conditions(self) -> &'static str {
                match self { $(Self::$name => $conditions,)+ }
            }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    Accepted: "Accepted=True", "The spec can work and everything it names exists.", "Nothing.";
    ClientAddressUnknown: "Accepted=True",
        "The server is exposed and trusts no proxy, so all clients seem to have the proxy's address: the per-client limit counts failed authentications only.",
        "Name the proxy's networks in `spec.expose.trustedProxies`.";
    SessionsInMemory: "Accepted=True",
        "There may be several pods, each with the sessions of the 2025 protocol revisions in its own memory: a client that meets another pod has to begin anew. The 2026-07-28 revision has no sessions.",
        "Set `spec.redis`; or run one replica; or say that the backend keeps no state: `spec.backend.container.stateless`.";
    RotationRefused: "Accepted=True",
        "The annotation `mcp-operator.dev/rotate-keys` asks for new keys, and the operator was installed with `secretAccess: None`: it makes none.",
        "Make the keys in the Secret `<name>-keys` yourself, then remove the annotation; or let the operator write Secrets: the chart's `secretAccess`.";
    InvalidSpec: "Accepted=False", "The spec passed the API server's checks and still cannot work.", "The message names field, problem and remedy.";
    MissingReference: "Accepted=False",
        "A Secret, ConfigMap, claim or IngressClass that the spec names does not exist. Running pods stay.",
        "Create it: the server goes on by itself. Whether a key inside it exists shows only when the pod starts.";
    ProfileRequired: "Accepted=False", "An operator for single namespaces cannot read IngressClasses.", "Name `spec.expose.ingress.profile`.";
    Programmed: "Programmed=True", "Every object is written.", "Nothing.";
    UpgradePending: "Programmed=True",
        "The installation's default image of the runtime has changed. A few servers get it at a time; this one keeps what it has until then.",
        "While the message says so: wait. Once it says that the upgrade has halted: mend the server that the operator's log names (`mcp_operator_runtime_upgrades` counts them), set the image back, or pin `spec.runtime.image`.";
    Suspended: "Programmed=True, False", "`spec.suspend` is set: the objects stay as they are. False while they differ from the spec.", "Set `spec.suspend: false`.";
    NotAccepted: "Programmed, Available, Exposed, Verified=Unknown", "Waits until the spec is accepted.", "See Accepted.";
    Conflict: "Programmed=False", "An object with the name of one of ours belongs to somebody else. It is not touched.", "Delete or rename it, or rename the McpServer.";
    Terminating: "Programmed=False", "The namespace, or objects of an earlier server with this name, are still being deleted.", "Wait; look for finalizers if it lasts.";
    FieldContested: "Programmed=False", "Something else keeps changing a field that the operator sets.", "The message names the field: stop the other writer.";
    Forbidden: "Programmed=False", "The API server forbids the operator to write an object: a role or a quota.", "The message has the API server's words.";
    Rejected: "Programmed=False", "The API server refuses an object as invalid.", "The message has the API server's words.";
    Migrating: "Programmed=False", "The Job of `spec.database.migrations` is under way. The pods of before serve meanwhile.", "Wait.";
    MigrationFailed: "Programmed=False",
        "The Job of `spec.database.migrations` failed. The pods of before stay; so does what else would change them, their number too.",
        "The message has the exit code and the last line. Mend it: a changed spec is another Job; the same one is tried again when you delete the Job, or when its time after the end is over.";
    ApplyFailed: "Programmed=False", "An object could not be written. It is tried again.", "The message has the cause.";
    TimedOut: "Programmed=False", "The API server did not answer in time. It is tried again.", "Look at the API server.";
    Available: "Available=True", "Every pod is ready.", "Nothing.";
    Degraded: "Available=True", "Some pods are ready, some are not. Clients are served.", "The message says why, if Kubernetes knows.";
    AutoscalerFailing: "Available=True",
        "Every pod is ready, and the HorizontalPodAutoscaler cannot choose their number: it has no metrics, or may not scale.",
        "The message has its words. Metrics of processor and memory need the metrics-server.";
    RollingOut: "Available=True, Verified=Unknown", "A new version is replacing the old one, which serves meanwhile.", "Wait.";
    RolloutStalled: "Available=True, Verified=Unknown", "The new version does not start; the old one goes on serving.", "The message says why: mend the spec.";
    ScaledToZero: "Available=True, Verified=True", "`spec.replicas` is 0.", "Nothing.";
    NotCreated: "Available=False", "There is no Deployment yet.", "See Programmed.";
    Starting: "Available=False", "No pod is ready yet.", "Wait.";
    ImagePullFailed: "Available=False", "An image cannot be pulled.", "Check its name, and `spec.pod.imagePullSecrets`.";
    ContainerInvalid: "Available=False", "A container cannot be created: a key is missing, or the image would run as root.", "The message has the kubelet's words.";
    OutOfMemory: "Available=False", "A container used more memory than its limit.", "Raise the limit.";
    Crashing: "Available=False", "A container ends.", "The message has its exit code and the last line of its standard error.";
    Unschedulable: "Available=False", "No node takes the pods.", "The message has the scheduler's words.";
    PodsRefused: "Available=False", "Pods cannot be created: a quota, or an admission policy.", "The message has the API server's words.";
    HandshakeFailed: "Available=False, Verified=False", "The backend does not speak MCP with the runtime.", "The message says how far it came; check `spec.backend`.";
    IssuerUnreachable: "Available=False, Verified=False", "The keys of an authorization server cannot be fetched: no token can be verified.", "The message names it: check `spec.auth.issuers` and the network.";
    ClusterInternal: "Exposed=True", "`spec.expose` is not set: the server is reached inside the cluster only.", "Nothing.";
    Exposed: "Exposed=True", "An ingress controller, or every Gateway, has admitted the route.", "Nothing.";
    HostShared: "Exposed=True", "Another server has the same host: only paths that belong to one server are routed.", "Nothing, or choose another host.";
    AffinityUnavailable: "Exposed=True",
        "`spec.expose.affinity` is set, and the ingress controller has no annotation for it: clients change pods.",
        "Share sessions in redis (`spec.redis`), or follow the controller's recipe in [exposure.md](exposure.md).";
    BackendTlsUnavailable: "Exposed=True, False", "The pods speak HTTPS (`spec.tls`). False: the ingress controller cannot. True: something is left to do by you, which the operator cannot see.",
        "The message says what; the recipes are in [exposure.md](exposure.md#tls-inside-of-the-pod).";
    NoRoute: "Exposed=False", "There is no route yet.", "See Programmed.";
    AddressPending: "Exposed=False", "No ingress controller has published an address for the route.",
        "Check that the controller of the IngressClass runs and publishes its address (Traefik: `publishedService` or `publishStatusAddress`).";
    RoutePending: "Exposed=False", "No controller has said anything of the HTTPRoute for a Gateway that the spec names.",
        "Check that the Gateway exists and its controller runs.";
    RouteRefused: "Exposed=False", "A Gateway does not attach the HTTPRoute, or does not find its Service.",
        "The message has its controller's words: a Gateway admits routes by `allowedRoutes` and the hosts of its listeners.";
    CertificatePending: "Exposed, Available=False", "cert-manager has not made the certificate yet: of the route (Exposed), or of the pods (Available), which wait for it.", "Look at the Certificate with the Secret's name.";
    Verified: "Verified=True", "The server answers as a client sees it, and refuses whom it should.", "Nothing.";
    BackendReachableDirectly: "Verified=True", "The backend also answers at the pod's own address, past the runtime; only the NetworkPolicy is in the way.", "Let it listen on 127.0.0.1.";
    NotAsked: "Verified=Unknown", "The server has not been asked yet.", "Wait.";
    ReloadPending: "Verified=Unknown", "A pod still uses the configuration of before.", "Wait: the kubelet brings the new one within about a minute.";
    Unreachable: "Verified=Unknown", "The operator could not ask the server three times in a row.", "Check NetworkPolicies between the operator's namespace and the server.";
    NotProbed: "Verified=Unknown", "The operator was told not to ask servers.", "Nothing; Ready leaves Verified out.";
    NotServing: "Verified=False", "No pod is ready.", "See Available.";
    ConfigRefused: "Verified=False", "The runtime refuses its new configuration and goes on with the old one.", "The message says why; report it as a bug.";
    AuthNotEnforced: "Verified=False", "The server asks for tokens by its spec and served a caller without one.", "Report it as a bug. Take the route down: `spec.replicas: 0`.";
    MetadataMissing: "Verified=False", "The server refuses callers without a token and does not tell where to get one.", "Look at what stands between the Service and the runtime.";
    CertificateInvalid: "Verified=False", "The certificate that the Service shows is not good by `spec.tls.caBundle`: another authority, another name, or it has ended.",
        "The message has the reason. The certificate is for the Service's names: weather, weather.team-a, weather.team-a.svc and the longest one.";
    CertificateExpired: "Verified=False", "The certificate that the pods use themselves (`spec.tls`) has ended.", "Renew the Secret: the pods take it up within about a minute. With `issuerRef` look at the Certificate with the server's name.";
    CertificateExpiring: "Verified=True", "The certificate that the pods use themselves (`spec.tls`) ends within a week.", "Renew the Secret. With `issuerRef` look at the Certificate with the server's name: it should have been renewed by now.";
    CertificateRefused: "Verified=True", "The pods go on with their certificate of before, since the files of the Secret cannot be used.", "The message has the reason: certificate and key belong together.";
    UnexpectedAnswer: "Verified=False", "The server answers its own Service in an unexpected way.", "The message has the answer's status.";
    Ready: "Ready=True", "All conditions hold.", "Nothing.";
}

impl Reason {
    /// Whether somebody can do something about it.
    #[must_use]
    pub fn has_remedy(self) -> bool {
        !["Nothing", "Wait"].iter().any(|idle| self.remedy().starts_with(idle))
    }

    /// The place in docs/conditions.md.
    #[must_use]
    pub fn anchor(self) -> String {
        self.as_str().to_lowercase()
    }

    /// Nothing changes until somebody does something: kstatus' `Stalled`.
    #[must_use]
    pub fn stalls(self) -> bool {
        matches!(
            self,
            Self::InvalidSpec
                | Self::MissingReference
                | Self::ProfileRequired
                | Self::Conflict
                | Self::FieldContested
                | Self::Forbidden
                | Self::Rejected
                | Self::ConfigRefused
                | Self::AuthNotEnforced
                | Self::MetadataMissing
                | Self::MigrationFailed
                | Self::CertificateInvalid
                | Self::CertificateExpired
        )
    }
}

/// docs/conditions.md.
#[must_use]
pub fn documentation() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(INTRODUCTION);
    for reason in Reason::ALL {
        let (name, anchor) = (reason.as_str(), reason.anchor());
        let _ = writeln!(
            page,
            "| <a id=\"{anchor}\"></a>`{name}` | {} | {} | {} |",
            reason.conditions(),
            reason.meaning(),
            reason.remedy()
        );
    }
    page
}

const INTRODUCTION: &str =
    "<!-- Generated from operator/src/status/reason.rs: UPDATE=1 cargo test -p mcp-operator documentation -->

# Conditions

`Accepted` (the spec and what it names), `Programmed` (the objects are written), `Available` (the pods), `Exposed` (the
route) and `Verified` (the server was asked, and answers and refuses as it should) are there from the first write on.
`Ready` is true when all five are. `Reconciling` and `Stalled` are there only while they hold, as kstatus expects:
`Reconciling` while the operator or the cluster is still working, `Stalled` when somebody has to do something. A message about
which something can be done ends with its place on this page. Events tell what has gone wrong, that it is right again, and
that a server is ready; the steps on the way up are in the conditions only.

| Reason | Condition | Meaning | What to do |
| --- | --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_documentation_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conditions.md");
        let wanted = documentation();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, wanted, "run: UPDATE=1 cargo test -p mcp-operator documentation");
    }

    #[test]
    fn reasons_are_unique_and_fit_the_api() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        // The pattern and length of metav1.Condition.
        assert!(names.iter().all(|name| name.len() <= 1024 && name.chars().all(char::is_alphanumeric)));
    }
}
