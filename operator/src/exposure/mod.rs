//! What ingress controllers must be told so that MCP streams pass: one file per controller, and one table.
//!
//! A profile is annotations on Ingress and Service, nothing else. What a controller can do only by resources of its own
//! is a recipe in docs/exposure.md.

mod aws_alb;
mod cilium;
mod contour;
mod f5_nginx;
mod haproxy_ingress;
mod haproxy_technologies;
mod ingress_nginx;
mod kong;
mod traefik;

use std::collections::BTreeMap;

use mcp_crds::{Affinity, Expose, IngressProfile, McpServerSpec};

use crate::desired::Identity;

/// All controllers whose annotations we know. `Auto` finds one by `IngressClass.spec.controller`.
pub const PROFILES: &[&Profile] = &[
    &ingress_nginx::PROFILE,
    &f5_nginx::PROFILE,
    &traefik::PROFILE,
    &haproxy_technologies::PROFILE,
    &haproxy_ingress::PROFILE,
    &contour::PROFILE,
    &aws_alb::PROFILE,
    &cilium::PROFILE,
    &kong::PROFILE,
];

/// No annotations: the user's are all there is.
const GENERIC: Profile = Profile {
    name: "Generic",
    controllers: &[],
    affinities: &[],
    inner_tls: InnerTls::Yours("it writes no annotation: add the controller's own for HTTPS to the pods"),
    idle_seconds: |_| None,
    source: "",
    annotate: |_| Annotations::default(),
};

/// Both ways in which a controller can hash by what the first request has already.
const BY_HASH: &[Affinity] = &[Affinity::ClientAddress, Affinity::Authorization];

/// Envoy's time for idle connections to a pod, where nobody sets another; so long nobody else keeps them.
const ENVOY_IDLE_SECONDS: i32 = 3600;
/// What the runtime waits longer than proxies before it closes an idle connection.
const IDLE_MARGIN_SECONDS: i32 = 60;

/// What proxies wait longer than the runtime, so that it is the runtime that ends a call, with an answer that says why.
pub const OUTER_HOP_SECONDS: i32 = 30;

/// What one ingress controller needs.
#[derive(Debug)]
pub struct Profile {
    /// Name of the profile, as in `expose.ingress.profile`.
    pub name: &'static str,
    /// Values of `IngressClass.spec.controller` that mean this controller. Instances add `/<name>` to it.
    pub controllers: &'static [&'static str],
    /// The kinds of affinity that it has annotations for.
    pub affinities: &'static [Affinity],
    /// Whether it speaks HTTPS with the pods.
    pub inner_tls: InnerTls,
    /// How long it keeps an idle connection to a pod, where that is longer than the runtime's own default.
    idle_seconds: fn(&Route<'_>) -> Option<i32>,
    /// Where its annotations are documented.
    pub source: &'static str,
    annotate: fn(&Route<'_>) -> Annotations,
}

/// Whether a controller speaks HTTPS with the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerTls {
    /// By annotation, or by the application protocol of the Service.
    ByAnnotation,
    /// Something is left to the user, who may have done it: this.
    Yours(&'static str),
    /// It cannot.
    No,
}

/// The properties of a route that its annotations are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Name of the Service.
    pub service: &'a str,
    /// The longest time that one stream or call may last.
    pub stream_timeout_seconds: i32,
    /// Clients come by HTTPS.
    pub tls: bool,
    /// The pods speak HTTPS.
    pub inner_tls: bool,
    /// What keeps a client at one pod.
    pub affinity: Affinity,
    /// Largest request body that the runtime takes.
    pub max_body_bytes: u32,
}

impl Route<'_> {
    /// How long a proxy waits for the runtime.
    fn proxy_timeout_seconds(&self) -> i32 {
        self.stream_timeout_seconds.saturating_add(OUTER_HOP_SECONDS)
    }
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
pub fn annotations(id: &Identity, spec: &McpServerSpec, controller: Option<&str>) -> Annotations {
    let Some(expose) = &spec.expose else { return Annotations::default() };
    (profile(expose.ingress.profile, controller).annotate)(&route(id, spec, expose))
}

fn route<'a>(id: &'a Identity, spec: &McpServerSpec, expose: &Expose) -> Route<'a> {
    Route {
        service: &id.name,
        stream_timeout_seconds: expose.stream_timeout_seconds,
        tls: expose.tls.is_some(),
        inner_tls: spec.tls.is_some(),
        affinity: expose.affinity,
        max_body_bytes: mcp_server_config::Server::default().max_request_body_bytes,
    }
}

/// After how long the runtime closes an idle connection: later than the proxy in front, which would else send a request
/// into a connection that closes. `None`: the runtime's default is late enough.
#[must_use]
pub fn idle_timeout_seconds(id: &Identity, spec: &McpServerSpec, controller: Option<&str>) -> Option<u32> {
    let expose = spec.expose.as_ref()?;
    let ingress = has_ingress(expose)
        .then(|| (profile(expose.ingress.profile, controller).idle_seconds)(&route(id, spec, expose)))
        .flatten();
    let gateway = expose.gateway.as_ref().map(|_| ENVOY_IDLE_SECONDS);
    let longest = ingress.max(gateway)?.saturating_add(IDLE_MARGIN_SECONDS);
    let longest = u32::try_from(longest).ok()?;
    (longest > mcp_server_config::Server::default().idle_timeout_seconds()).then_some(longest)
}

/// A Gateway is in place of the Ingress, unless a class is named as well.
#[must_use]
pub fn has_ingress(expose: &Expose) -> bool {
    expose.gateway.is_none() || expose.ingress.class_name.is_some()
}

/// Why a wanted affinity is not there: what to say to the user. `None` when all is as wanted.
#[must_use]
pub fn missing_affinity(spec: &McpServerSpec, controller: Option<&str>) -> Option<String> {
    let expose = spec.expose.as_ref()?;
    let (profile, wanted) = (profile(expose.ingress.profile, controller), expose.affinity);
    if wanted == Affinity::None || profile.affinities.contains(&wanted) {
        return None;
    }
    let (name, wanted) = (profile.name, wanted.as_str());
    Some(format!(
        "profile {name} has no annotation for affinity {wanted}, so clients change pods: share sessions in redis, or \
         follow the recipe in docs/exposure.md"
    ))
}

/// Why the route may not reach pods that speak HTTPS: whether it certainly does not, and what to say to the user. `None`
/// when all is well.
#[must_use]
pub fn missing_inner_tls(spec: &McpServerSpec, controller: Option<&str>) -> Option<(bool, String)> {
    let expose = spec.expose.as_ref().filter(|_| spec.tls.is_some())?;
    if expose.gateway.is_some() {
        let why = "a Gateway speaks HTTPS with the pods by a BackendTLSPolicy only, which is yours to make: see \
                   docs/exposure.md, TLS inside of the pod";
        return Some((false, why.to_owned()));
    }
    let Profile { name, inner_tls, .. } = profile(expose.ingress.profile, controller);
    match inner_tls {
        InnerTls::ByAnnotation => None,
        InnerTls::Yours(what) => Some((false, format!("the pods speak HTTPS (spec.tls), and profile {name}: {what}"))),
        InnerTls::No => Some((
            true,
            format!(
                "the pods speak HTTPS (spec.tls), and profile {name} cannot: remove spec.tls, or use another controller"
            ),
        )),
    }
}

/// The profile in force.
#[must_use]
pub fn profile(wanted: IngressProfile, controller: Option<&str>) -> &'static Profile {
    match wanted {
        IngressProfile::Generic => &GENERIC,
        IngressProfile::IngressNginx => &ingress_nginx::PROFILE,
        IngressProfile::F5Nginx => &f5_nginx::PROFILE,
        IngressProfile::Traefik => &traefik::PROFILE,
        IngressProfile::HaproxyTechnologies => &haproxy_technologies::PROFILE,
        IngressProfile::HaproxyIngress => &haproxy_ingress::PROFILE,
        IngressProfile::Contour => &contour::PROFILE,
        IngressProfile::AwsAlb => &aws_alb::PROFILE,
        IngressProfile::Cilium => &cilium::PROFILE,
        IngressProfile::Kong => &kong::PROFILE,
        IngressProfile::Auto => controller.and_then(by_controller).unwrap_or(&GENERIC),
    }
}

fn by_controller(controller: &str) -> Option<&'static Profile> {
    let is =
        |known: &&str| controller.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    PROFILES.iter().copied().find(|profile| profile.controllers.iter().any(is))
}

/// Annotations with a common prefix.
fn prefixed<const N: usize>(prefix: &str, pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).collect()
}

/// The table of profiles in docs/exposure.md.
#[must_use]
pub fn documentation() -> String {
    use std::fmt::Write as _;
    let mut table = String::from(
        "| Profile | `IngressClass.spec.controller` | Affinity by annotation | HTTPS to the pods | Source |\n| --- | --- | --- | --- | --- |\n",
    );
    for Profile { name, controllers, affinities, inner_tls, idle_seconds: _, source, annotate: _ } in PROFILES {
        let controllers = controllers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let affinities = affinities.iter().map(|affinity| affinity.as_str()).collect::<Vec<_>>().join(", ");
        let affinities = if affinities.is_empty() { "none" } else { &affinities };
        let inner_tls = match inner_tls {
            InnerTls::ByAnnotation => "yes",
            InnerTls::Yours(what) => what,
            InnerTls::No => "no",
        };
        let _ = writeln!(table, "| `{name}` | {controllers} | {affinities} | {inner_tls} | <{source}> |");
    }
    table
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn auto_goes_by_the_controller_and_falls_back_to_generic() {
        let named = |controller| profile(IngressProfile::Auto, controller).name;
        assert_eq!(named(Some("k8s.io/ingress-nginx")), "ingress-nginx");
        assert_eq!(
            named(Some("haproxy.org/ingress-controller/prod")),
            "haproxy-technologies",
            "an instance by its name"
        );
        assert_eq!(named(Some("haproxy.org/ingress-controller-of-mine")), "Generic");
        assert_eq!(named(Some("example.com/unknown")), "Generic");
        assert_eq!(named(None), "Generic");
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

    /// The API's name of each profile is the one that the table has.
    #[test]
    fn every_profile_is_chosen_by_its_name() {
        for known in PROFILES {
            let wanted: IngressProfile = serde_json::from_value(known.name.into()).unwrap();
            assert_eq!(profile(wanted, None).name, known.name);
        }
    }

    #[test]
    fn no_profile_injects_configuration_or_hashes_by_the_session_id() {
        for profile in PROFILES {
            for affinity in [Affinity::None, Affinity::ClientAddress, Affinity::Authorization] {
                let route = Route {
                    service: "demo",
                    stream_timeout_seconds: 3600,
                    tls: true,
                    inner_tls: true,
                    affinity,
                    max_body_bytes: 1,
                };
                let Annotations { ingress, service } = (profile.annotate)(&route);
                for (key, value) in ingress.iter().chain(&service) {
                    assert!(!key.contains("snippet") && !value.to_lowercase().contains("session"), "{key}: {value}");
                }
            }
        }
    }

    #[test]
    fn the_documentation_is_current() {
        const BEGIN: &str =
            "<!-- Generated from operator/src/exposure: UPDATE=1 cargo test -p mcp-operator documentation -->\n";
        const END: &str = "<!-- End of the generated table -->\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exposure.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", documentation());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap();
        assert_eq!(found, wanted, "run: UPDATE=1 cargo test -p mcp-operator documentation");
    }
}
