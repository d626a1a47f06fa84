//! NGINX Ingress Controller by F5. Read in internal/configs/annotations.go and parsing_helpers.go of
//! nginx/kubernetes-ingress: booleans are Go's (`off` is an error and never applied), times have a unit.

use std::collections::BTreeMap;

use mcp_crds::Affinity;

use super::{Annotations, BY_HASH, InnerTls, Profile, Route, prefixed};

const PREFIX: &str = "nginx.org/";

pub(super) const PROFILE: Profile = Profile {
    name: "f5-nginx",
    controllers: &["nginx.org/ingress-controller"],
    affinities: BY_HASH,
    inner_tls: InnerTls::ByAnnotation,
    idle_seconds: |_| None,
    source: "https://github.com/nginx/kubernetes-ingress/blob/main/internal/configs/annotations.go",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let timeout = format!("{}s", route.proxy_timeout_seconds());
    let mut ingress = prefixed(
        PREFIX,
        [
            ("proxy-buffering", "False".to_owned()),
            ("proxy-read-timeout", timeout.clone()),
            ("proxy-send-timeout", timeout),
            ("client-max-body-size", route.max_body_bytes.to_string()),
        ],
    );
    if route.tls {
        // The older name, which new releases read too.
        ingress.insert("ingress.kubernetes.io/ssl-redirect".to_owned(), "True".to_owned());
    }
    if route.inner_tls {
        // Services, by name. It takes any certificate of a pod.
        ingress.insert(format!("{PREFIX}ssl-services"), route.service.to_owned());
    }
    let key = match route.affinity {
        Affinity::None => None,
        Affinity::ClientAddress => Some("$remote_addr"),
        Affinity::Authorization => Some("$http_authorization"),
    };
    if let Some(key) = key {
        // Consistent: a pod less moves the clients of that pod only.
        ingress.insert(format!("{PREFIX}lb-method"), format!("hash {key} consistent"));
    }
    Annotations { ingress, service: BTreeMap::new() }
}
