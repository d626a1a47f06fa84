//! What ingress controllers must be told so that MCP streams pass: one file per controller, and one table.
//!
//! A profile is annotations on Ingress and Service, nothing else. What a controller can do only by resources of its own
//! is a recipe in the documentation.

mod ingress_nginx;

use std::collections::BTreeMap;

use mcp_crds::{IngressProfile, McpServerSpec};

/// All controllers whose annotations we know. `Auto` finds one by `IngressClass.spec.controller`.
const PROFILES: &[&Profile] = &[&ingress_nginx::PROFILE];

/// No annotations: the user's are all there is.
const GENERIC: Profile = Profile { name: "Generic", controllers: &[], annotate: |_| Annotations::default() };

/// What one ingress controller needs.
#[derive(Debug)]
pub struct Profile {
    /// Name of the profile, as in `expose.ingress.profile`.
    pub name: &'static str,
    /// Values of `IngressClass.spec.controller` that mean this controller.
    controllers: &'static [&'static str],
    annotate: fn(&Route) -> Annotations,
}

/// The properties of a route that its annotations are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The longest time that one stream or call may last.
    pub stream_timeout_seconds: i32,
    /// Clients come by HTTPS.
    pub tls: bool,
    /// Largest request body that the runtime takes.
    pub max_body_bytes: u32,
}

/// Annotations by the object that has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Of the Ingress.
    pub ingress: BTreeMap<String, String>,
    /// Of the Service.
    pub service: BTreeMap<String, String>,
}

/// The annotations for a server's route; none when it is not exposed. `controller` is that of the IngressClass in force.
#[must_use]
pub fn annotations(spec: &McpServerSpec, controller: Option<&str>) -> Annotations {
    let Some(expose) = &spec.expose else { return Annotations::default() };
    let route = Route {
        stream_timeout_seconds: expose.stream_timeout_seconds,
        tls: expose.tls.is_some(),
        max_body_bytes: mcp_server_config::Server::default().max_request_body_bytes,
    };
    (profile(expose.ingress.profile, controller).annotate)(&route)
}

/// The profile in force.
#[must_use]
pub fn profile(wanted: IngressProfile, controller: Option<&str>) -> &'static Profile {
    match wanted {
        IngressProfile::Generic => &GENERIC,
        IngressProfile::IngressNginx => &ingress_nginx::PROFILE,
        IngressProfile::Auto => controller.and_then(by_controller).unwrap_or(&GENERIC),
    }
}

fn by_controller(controller: &str) -> Option<&'static Profile> {
    PROFILES.iter().copied().find(|profile| profile.controllers.contains(&controller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_goes_by_the_controller_and_falls_back_to_generic() {
        assert_eq!(profile(IngressProfile::Auto, Some("k8s.io/ingress-nginx")).name, "ingress-nginx");
        assert_eq!(profile(IngressProfile::Auto, Some("example.com/unknown")).name, "Generic");
        assert_eq!(profile(IngressProfile::Auto, None).name, "Generic");
    }

    #[test]
    fn a_named_profile_is_stronger_than_the_controller() {
        assert_eq!(profile(IngressProfile::IngressNginx, Some("traefik.io/ingress-controller")).name, "ingress-nginx");
        assert_eq!(profile(IngressProfile::Generic, Some("k8s.io/ingress-nginx")).name, "Generic");
    }

    #[test]
    fn no_controller_belongs_to_two_profiles() {
        let mut all: Vec<_> = PROFILES.iter().flat_map(|profile| profile.controllers).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
