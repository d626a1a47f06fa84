//! The kinds of children, in the order in which they are written; and claims, which are only referred to.

use kube::api::ApiResource;

/// A kind of child. The order is that of writing: what pods need first, then the pods, then the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Kind {
    ServiceAccount,
    ConfigMap,
    Secret,
    PersistentVolumeClaim,
    Certificate,
    NetworkPolicy,
    Service,
    PodDisruptionBudget,
    HorizontalPodAutoscaler,
    ServiceMonitor,
    Ingress,
    HttpRoute,
    Job,
    Deployment,
}

impl Kind {
    /// Every kind, in the order of writing.
    pub const ALL: [Self; 14] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::PersistentVolumeClaim,
        Self::Certificate,
        Self::NetworkPolicy,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::HorizontalPodAutoscaler,
        Self::ServiceMonitor,
        Self::Ingress,
        Self::HttpRoute,
        Self::Job,
        Self::Deployment,
    ];

    /// Kubernetes' name of the kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Job => "Job",
            Self::Certificate => "Certificate",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::ServiceMonitor => "ServiceMonitor",
            Self::Ingress => "Ingress",
            Self::HttpRoute => "HTTPRoute",
            Self::Deployment => "Deployment",
        }
    }

    /// Whether it is somebody else's kind, which a cluster may lack.
    #[must_use]
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Certificate | Self::ServiceMonitor | Self::HttpRoute)
    }

    /// Where the API server has it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version, plural) = match self {
            Self::ServiceAccount => ("", "v1", "serviceaccounts"),
            Self::ConfigMap => ("", "v1", "configmaps"),
            Self::Secret => ("", "v1", "secrets"),
            Self::PersistentVolumeClaim => ("", "v1", "persistentvolumeclaims"),
            Self::Job => ("batch", "v1", "jobs"),
            Self::Certificate => ("cert-manager.io", "v1", "certificates"),
            Self::Service => ("", "v1", "services"),
            Self::Deployment => ("apps", "v1", "deployments"),
            Self::PodDisruptionBudget => ("policy", "v1", "poddisruptionbudgets"),
            Self::HorizontalPodAutoscaler => ("autoscaling", "v2", "horizontalpodautoscalers"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "networkpolicies"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "v1", "servicemonitors"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "httproutes"),
            Self::Ingress => ("networking.k8s.io", "v1", "ingresses"),
        };
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.as_str().to_owned(),
            plural: plural.to_owned(),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
