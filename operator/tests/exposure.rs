//! What each ingress controller is told, as YAML to review; and the recipes of docs/exposure.md.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod support;

use std::path::Path;

use mcp_crds::{Affinity, IngressProfile, McpServerSpec};
use mcp_operator::desired::{Resolved, desired};
use mcp_operator::exposure::{self, InnerTls, PROFILES};
use serde_json::{Value, json};
use support::fixture::{Fixture, server};
use support::settings;

fn exposed(profile: &str) -> Fixture {
    let profile: IngressProfile = serde_json::from_value(profile.into()).unwrap();
    server("demo").exposed("a.example").with(|spec| spec.expose.as_mut().unwrap().ingress.profile = profile)
}

fn with_affinity(affinity: Affinity) -> impl FnOnce(&mut McpServerSpec) {
    move |spec| spec.expose.as_mut().unwrap().affinity = affinity
}

/// The annotations of Ingress and Service.
fn annotations(server: &Fixture) -> Value {
    let children = desired(server, &Resolved::default(), &settings()).unwrap();
    json!({"ingress": children.ingress.unwrap().metadata.annotations, "service": children.service.metadata.annotations})
}

#[test]
fn every_profile_annotates_as_reviewed() {
    for profile in PROFILES {
        let routes = json!({
            "plain": annotations(&exposed(profile.name)),
            "tls": annotations(&exposed(profile.name).with_tls("tls")),
            "tls inside": annotations(&exposed(profile.name).with_inner_tls("tls")),
            "short": annotations(&exposed(profile.name).with(|spec| spec.expose.as_mut().unwrap().stream_timeout_seconds = 10)),
            "by address": annotations(&exposed(profile.name).with(with_affinity(Affinity::ClientAddress))),
            "by token": annotations(&exposed(profile.name).with(with_affinity(Affinity::Authorization))),
        });
        insta::with_settings!({snapshot_suffix => profile.name}, {
            insta::assert_snapshot!(serde_saphyr::to_string(&routes).unwrap());
        });
    }
}

#[test]
fn affinity_changes_annotations_or_is_said_to_be_missing() {
    for profile in PROFILES {
        for affinity in [Affinity::ClientAddress, Affinity::Authorization] {
            let (without, with) = (exposed(profile.name), exposed(profile.name).with(with_affinity(affinity)));
            let has_effect = annotations(&without) != annotations(&with);
            let missing = exposure::missing_affinity(&with.spec, None);
            assert_eq!(has_effect, missing.is_none(), "{} {affinity:?}", profile.name);
            assert_eq!(has_effect, profile.affinities.contains(&affinity), "{} {affinity:?}", profile.name);
            assert_eq!(exposure::missing_affinity(&without.spec, None), None, "nobody asked");
        }
    }
    let generic = exposed("Generic").with(with_affinity(Affinity::ClientAddress));
    assert!(exposure::missing_affinity(&generic.spec, None).unwrap().contains("profile Generic"));
}

#[test]
fn a_controller_speaks_https_with_the_pods_or_is_said_not_to() {
    for profile in PROFILES {
        let (without, with) = (exposed(profile.name), exposed(profile.name).with_inner_tls("tls"));
        let has_effect = annotations(&without) != annotations(&with);
        let missing = exposure::missing_inner_tls(&with.spec, None);
        match profile.inner_tls {
            InnerTls::ByAnnotation => assert!(has_effect && missing.is_none(), "{}", profile.name),
            InnerTls::Yours(what) => {
                let (certain, why) = missing.unwrap();
                assert!(!certain && why.contains(what), "{why}");
            }
            InnerTls::No => assert!(!has_effect && missing.unwrap().0, "{}", profile.name),
        }
        assert_eq!(exposure::missing_inner_tls(&without.spec, None), None, "nobody asked");
    }
    let gateway = exposed("Auto").with_inner_tls("tls").with(|spec| {
        let gateway = json!({"parentRefs": [{"name": "public"}]});
        spec.expose.as_mut().unwrap().gateway = Some(serde_json::from_value(gateway).unwrap());
    });
    assert!(exposure::missing_inner_tls(&gateway.spec, None).unwrap().1.contains("BackendTLSPolicy"));
}

/// Who closes a connection first should be the proxy: it would else send a request into a closing one.
#[test]
fn the_runtime_keeps_idle_connections_longer_than_the_proxy() {
    let idle = |server: &Fixture| {
        let boot = desired(server, &Resolved::default(), &settings()).unwrap().boot_config.data.unwrap();
        let boot = mcp_server_config::parse_boot(boot.values().next().unwrap()).unwrap();
        boot.server.idle_timeout_seconds()
    };
    assert_eq!(idle(&exposed("aws-alb")), 3630 + 60);
    let long = exposed("aws-alb").with(|spec| spec.expose.as_mut().unwrap().stream_timeout_seconds = 80_000);
    assert_eq!(idle(&long), 4000 + 60, "the load balancer's longest");
    let short = exposed("aws-alb").with(|spec| spec.expose.as_mut().unwrap().stream_timeout_seconds = 10);
    assert_eq!(idle(&short), 120, "its own");
    assert_eq!(idle(&exposed("contour")), 3660);
    assert_eq!(idle(&exposed("ingress-nginx")), 120);
}

#[test]
fn every_proxy_waits_longer_than_the_runtime() {
    for profile in PROFILES {
        let text = annotations(&exposed(profile.name)).to_string();
        // Traefik has no timeout of that kind.
        let waits = text.contains("3630") || profile.name == "traefik";
        assert!(waits && !text.contains("3600"), "{}: {text}", profile.name);
    }
}

#[test]
fn the_users_annotations_are_stronger() {
    let key = "nginx.ingress.kubernetes.io/proxy-read-timeout".to_owned();
    let server = exposed("ingress-nginx").with(|spec| {
        spec.expose.as_mut().unwrap().ingress.annotations.insert(key.clone(), "7".to_owned());
        spec.service.annotations.insert("konghq.com/retries".to_owned(), "1".to_owned());
    });
    let found = annotations(&server);
    assert_eq!(found["ingress"][&key], "7");
    assert_eq!(found["service"], json!({"konghq.com/retries": "1"}));
}

/// Each recipe is whole objects, as somebody would apply them.
#[test]
fn every_recipe_is_yaml_of_complete_objects() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exposure.md")).unwrap();
    let blocks: Vec<_> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6, "{} recipes", blocks.len());
    for block in blocks {
        let objects: Vec<Value> = serde_saphyr::from_multiple(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        for object in objects {
            for field in ["/apiVersion", "/kind", "/metadata/name", "/spec"] {
                assert!(object.pointer(field).is_some_and(|value| !value.is_null()), "{field} in {block}");
            }
            if object["kind"] == "McpServer" {
                let server: mcp_crds::McpServer = serde_json::from_value(object).unwrap();
                let server = support::fixture::stored("recipe", server.spec);
                desired(&server, &Resolved::default(), &settings()).unwrap();
            }
        }
    }
}
