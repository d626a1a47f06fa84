//! Single decisions that a golden file would hide among many lines.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod support;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_crds::{ServiceType, Strategy};
use mcp_operator::desired::{Children, EnvDigest, Identity, Resolved, desired, endpoint};
use mcp_server_config::{Anonymous, Config, Count, Live, SessionStore};
use support::fixture::{Fixture, UID, server};
use support::settings;

fn children(server: &Fixture) -> Children {
    desired(server, &Resolved::default(), &settings()).unwrap()
}

fn file(config_map: &ConfigMap) -> &str {
    config_map.data.as_ref().unwrap().values().next().unwrap()
}

fn boot(server: &Fixture) -> Config {
    mcp_server_config::parse_boot(file(&children(server).boot_config)).unwrap()
}

fn live(server: &Fixture) -> Live {
    mcp_server_config::parse_live(file(&children(server).live_config)).unwrap().0
}

#[test]
fn what_can_be_reloaded_rolls_no_pods() {
    let before = server("demo").exposed("a.example").protected_by("https://one.example");
    let after = before.clone().replicas(1).with(|spec| {
        spec.observability.log_level = mcp_crds::LogLevel::Debug;
        spec.rate_limits.per_client.requests = 7;
        spec.auth.as_mut().unwrap().required_scopes.push("read".to_owned());
        spec.expose.as_mut().unwrap().trusted_proxies.push("10.0.0.0/8".to_owned());
        spec.expose.as_mut().unwrap().hosts.push("b.example".to_owned());
    });
    let (before, after) = (children(&before), children(&after));
    assert_ne!(before.live_digest, after.live_digest);
    assert_eq!(before.boot_config, after.boot_config);
    assert_eq!(before.deployment, after.deployment);
}

#[test]
fn what_needs_a_restart_makes_a_new_boot_file_and_rolls_the_pods() {
    let before = children(&server("demo"));
    let after = children(&server("demo").with(|spec| spec.disruption.drain_seconds = 31));
    assert_ne!(before.boot_config.metadata.name, after.boot_config.metadata.name);
    assert_ne!(before.deployment.spec.unwrap().template, after.deployment.spec.unwrap().template);
    assert_eq!(before.live_digest, after.live_digest);
}

#[test]
fn a_changed_environment_rolls_the_pods() {
    let server = server("demo").container("example/server");
    let with = |digest: Option<(&str, &str)>| {
        let env_digest =
            digest.map(|(digest, versions)| EnvDigest { digest: digest.to_owned(), versions: versions.to_owned() });
        let refs = Resolved { env_digest, ..Resolved::default() };
        desired(&server, &refs, &settings()).unwrap().deployment.spec.unwrap().template
    };
    assert_ne!(with(Some(("one", "1"))), with(Some(("two", "1"))));
    assert_eq!(with(Some(("one", "1"))), with(Some(("one", "2"))), "it says the same");
    assert!(with(None).metadata.unwrap().annotations.is_none());
}

/// The pods divide the rate by a count that is no part of the file: pods are ready while they have yet to hear of it.
#[test]
fn scaling_changes_the_count_and_not_the_configuration() {
    let scaled = |replicas: i32| {
        let server = server("demo").replicas(replicas).with(|spec| spec.rate_limits.per_client.requests = 100);
        assert_eq!(live(&server).rate_limits.per_client.requests, 100);
        let children = desired(&server, &Resolved::default(), &settings()).unwrap();
        let count = children.live_config.data.unwrap().remove("replicas").unwrap();
        (count, children.live_digest)
    };
    let (one, three, none) = (scaled(1), scaled(3), scaled(0));
    assert_eq!((one.0.as_str(), three.0.as_str(), none.0.as_str()), ("1", "3", "1"));
    assert!(one.1 == three.1 && one.1 == none.1);
}

#[test]
fn tools_and_scopes_are_reloaded() {
    let before = server("demo").protected_by("https://one.example");
    let after = before.clone().with(|spec| {
        spec.tools.deny.push("delete_*".to_owned());
        let scopes = serde_json::json!([{"tools": ["write_*"], "scopes": ["write"]}]);
        spec.auth.as_mut().unwrap().tool_scopes = serde_json::from_value(scopes).unwrap();
    });
    assert_eq!(live(&after).tools.deny, ["delete_*"]);
    assert_eq!(live(&after).auth.unwrap().tool_scopes[0].scopes, ["write"]);
    assert_eq!(children(&before).deployment, children(&after).deployment);
}

#[test]
fn periods_are_seconds() {
    for (per, seconds) in [("30s", 30), ("1m", 60), ("2h", 7200), ("999999h", 3_599_996_400)] {
        let server = server("demo").with(|spec| spec.rate_limits.per_client.per = per.to_owned());
        assert_eq!(live(&server).rate_limits.per_client.per_seconds, seconds);
    }
    let server = server("demo").with(|spec| spec.rate_limits.per_client.per = "1d".to_owned());
    let refusal = desired(&server, &Resolved::default(), &settings()).unwrap_err().to_string();
    assert!(refusal.starts_with("spec.rateLimits.perClient.per: \"1d\" is no period; write a number"), "{refusal}");
}

#[test]
fn clients_behind_an_unknown_proxy_do_not_share_one_bucket() {
    let inside = server("demo");
    let behind_unknown = server("demo").exposed("a.example");
    let behind_known =
        behind_unknown.clone().with(|spec| spec.expose.as_mut().unwrap().trusted_proxies.push("10.0.0.0/8".to_owned()));
    let count = |server: &Fixture| live(server).rate_limits.per_client.count;
    assert_eq!(count(&inside), Count::Requests);
    assert_eq!(count(&behind_unknown), Count::Failures);
    assert_eq!(count(&behind_known), Count::Requests);
}

#[test]
fn a_server_inside_the_cluster_serves_everybody_there_unless_it_has_issuers() {
    assert_eq!(live(&server("demo")).auth.unwrap().anonymous, Anonymous::Allow);
    let protected = live(&server("demo").protected_by("https://one.example")).auth.unwrap();
    assert_eq!(protected.anonymous, Anonymous::Deny);
    assert_eq!(protected.issuers.len(), 1);
}

#[test]
fn the_address_is_what_a_client_types() {
    let address = |server: &Fixture| endpoint::address(&Identity::of(server).unwrap(), &server.spec, &settings());
    assert_eq!(address(&server("demo")), "http://demo.team-a.svc.cluster.local/mcp");
    assert_eq!(address(&server("demo").exposed("a.example")), "http://a.example/mcp");
    assert_eq!(address(&server("demo").exposed("a.example").with_tls("tls")), "https://a.example/mcp");
    let root = server("demo").exposed("a.example").with(|spec| spec.expose.as_mut().unwrap().path = "/".to_owned());
    assert_eq!(address(&root), "http://a.example/");
}

#[test]
fn the_server_answers_to_every_name_that_clients_know_it_by() {
    let server = server("demo").protected_by("https://one.example").exposed("a.example").with_tls("tls").with(|spec| {
        spec.auth.as_mut().unwrap().resource_url = Some("https://gateway.example:8443/weather/mcp".to_owned());
    });
    let origins: Vec<_> = live(&server).http.public_urls.into_iter().map(String::from).collect();
    let expected = [
        "https://a.example",
        "https://gateway.example:8443",
        "http://demo",
        "http://demo.team-a",
        "http://demo.team-a.svc",
        "http://demo.team-a.svc.cluster.local",
    ];
    assert_eq!(origins, expected);
    let same = server.with(|spec| spec.auth.as_mut().unwrap().resource_url = Some("https://a.example/mcp".to_owned()));
    assert_eq!(live(&same).http.public_urls.len(), expected.len() - 1, "each name once");
}

#[test]
fn sessions_are_in_redis_where_there_is_one() {
    let store = |server: &Fixture| boot(server).sessions.store;
    assert_eq!(store(&server("demo")), Some(SessionStore::Memory));
    let with_redis = server("demo").with_redis("secret", "url");
    assert_eq!(store(&with_redis), Some(SessionStore::Redis));
    let redis = boot(&with_redis).redis.unwrap();
    assert_eq!(redis.url, None, "the URL has a password: it is mounted");
    assert_eq!(redis.key_prefix, Some(format!("mcp:{UID}")), "another server's keys are never met");
    let in_memory = with_redis.with(|spec| spec.sessions.store = Some(mcp_crds::SessionStore::Memory));
    assert_eq!(store(&in_memory), Some(SessionStore::Memory));
}

/// Reordering or removing issuers must not give a running pod another issuer's authorities.
#[test]
fn the_path_of_a_bundle_does_not_depend_on_its_place() {
    let issuers = |urls: &[&str]| {
        let issuers: Vec<_> = urls
            .iter()
            .map(|url| {
                let name = url.trim_start_matches("https://");
                serde_json::json!({"url": url, "caBundle": {"configMapKeyRef": {"name": name, "key": "ca"}}})
            })
            .collect();
        let auth = serde_json::json!({"issuers": issuers});
        let server = server("demo").with(|spec| spec.auth = Some(serde_json::from_value(auth).unwrap()));
        let issuers = live(&server).auth.unwrap().issuers;
        issuers
            .into_iter()
            .map(|issuer| (issuer.url, issuer.ca_file.unwrap()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let both = issuers(&["https://one", "https://two"]);
    assert_eq!(both, issuers(&["https://two", "https://one"]));
    assert_eq!(both["https://two"], issuers(&["https://two"])["https://two"]);
    assert_ne!(both["https://one"], both["https://two"]);
}

#[test]
fn management_is_not_published_by_a_load_balancer() {
    let ports = |kind: ServiceType| {
        let server = server("demo").with(|spec| spec.service.type_ = kind);
        let ports = children(&server).service.spec.unwrap().ports.unwrap();
        ports.into_iter().filter_map(|port| port.name).collect::<Vec<_>>()
    };
    assert_eq!(ports(ServiceType::ClusterIP), ["mcp", "management"]);
    assert_eq!(ports(ServiceType::NodePort), ["mcp"]);
    assert_eq!(ports(ServiceType::LoadBalancer), ["mcp"]);
}

#[test]
fn a_policy_that_is_switched_off_must_not_exist() {
    assert!(children(&server("demo")).network_policy.is_some());
    let off = server("demo").with(|spec| spec.network_policy.enabled = false);
    assert!(children(&off).network_policy.is_none());
}

#[test]
fn the_installation_may_name_who_reaches_servers_that_name_nobody() {
    let peer: k8s_openapi::api::networking::v1::NetworkPolicyPeer =
        serde_json::from_value(serde_json::json!({"podSelector": {"matchLabels": {"app": "ingress"}}})).unwrap();
    let settings = mcp_operator::settings::Settings { mcp_from: vec![peer.clone()], ..settings() };
    let policy = desired(&server("demo"), &Resolved::default(), &settings).unwrap().network_policy.unwrap();
    let rules = policy.spec.unwrap().ingress.unwrap();
    let from = rules[0].from.as_ref().unwrap();
    assert_eq!(from.len(), 2, "the operator verifies through the port");
    assert_eq!(from[0], peer);
}

/// Policies see the port of the pod, which the URL of its Service does not tell.
#[test]
fn names_inside_of_the_cluster_open_the_ports_of_their_namespace() {
    let namespaces = |urls: &[&str]| {
        let issuers: Vec<_> = urls.iter().map(|url| serde_json::json!({"url": url})).collect();
        let spec = serde_json::json!({"issuers": issuers});
        let server = server("demo").with(|server| server.auth = Some(serde_json::from_value(spec).unwrap()));
        let rules = children(&server).network_policy.unwrap().spec.unwrap().egress.unwrap();
        let any_port = rules.into_iter().filter(|rule| rule.ports.iter().flatten().any(|port| port.port.is_none()));
        let peers = any_port.flat_map(|rule| rule.to.unwrap()).map(|peer| {
            let labels = peer.namespace_selector.unwrap().match_labels.unwrap();
            labels["kubernetes.io/metadata.name"].clone()
        });
        peers.collect::<Vec<_>>()
    };
    assert!(namespaces(&["https://auth.example.com", "https://192.0.2.1", "https://[2001:db8::1]"]).is_empty());
    assert_eq!(namespaces(&["http://issuer.identity.svc"]), ["identity"]);
    assert_eq!(namespaces(&["http://0.issuer.identity.svc.cluster.local.:8080/realm"]), ["identity"]);
    assert_eq!(namespaces(&["http://issuer", "http://localhost:8080"]), ["team-a"], "that of the server");
}

/// A port that a URL names is opened, and the usual one only for a URL without.
#[test]
fn sentinels_with_ports_open_no_other() {
    let opens = |url: &str, wanted: i32| {
        let redis = serde_json::json!({"sentinel": {"master": "main", "urls": [url]}});
        let server = server("demo").with(|spec| spec.redis = Some(serde_json::from_value(redis).unwrap()));
        let rules = children(&server).network_policy.unwrap().spec.unwrap().egress.unwrap();
        rules
            .into_iter()
            .flat_map(|rule| rule.ports.unwrap_or_default())
            .any(|port| port.port == Some(IntOrString::Int(wanted)))
    };
    assert!(opens("redis://sentinel.example.com", 26379));
    assert!(opens("redis://sentinel.example.com:26380", 26380));
    assert!(!opens("redis://sentinel.example.com:26380", 26379));
}

/// A server made anew with the name of a deleted one must not select its last pods.
#[test]
fn another_uid_is_another_selector() {
    let first = server("demo").build();
    let mut second = first.clone();
    second.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
    assert_ne!(Identity::of(&first).unwrap().selector(), Identity::of(&second).unwrap().selector());
}

/// Traefik sends requests to a terminating pod until the kubelet has seen its readiness probe fail.
#[test]
fn the_listener_stays_open_until_the_loss_of_readiness_is_known() {
    let grace = |server: &Fixture| boot(server).drain.grace_seconds;
    assert_eq!(grace(&server("demo")), 5 * 3 + 5);
    let quick = server("demo").with(|spec| {
        spec.runtime.probes.readiness.period_seconds = 1;
        spec.runtime.probes.readiness.failure_threshold = 2;
    });
    assert_eq!(grace(&quick), 2 + 5);
}

#[test]
fn a_budget_is_for_servers_of_several_pods() {
    let budget = |server: &Fixture| children(server).disruption_budget.map(|budget| budget.spec.unwrap());
    assert!(budget(&server("demo")).is_none(), "its node could not be drained");
    let two = budget(&server("demo").replicas(2)).unwrap();
    assert_eq!((two.min_available, two.max_unavailable), (None, Some(IntOrString::Int(1))));
    let staying = server("demo").replicas(4).with(|spec| spec.disruption.min_available = Some(IntOrString::Int(3)));
    let staying = budget(&staying).unwrap();
    assert_eq!((staying.min_available, staying.max_unavailable), (Some(IntOrString::Int(3)), None));
    assert!(budget(&server("demo").replicas(4).autoscaled(1, 5)).is_none(), "there may be one");
    assert!(budget(&server("demo").autoscaled(2, 5)).is_some());
}

#[test]
fn an_autoscaler_looks_at_the_runtime_unless_it_is_told_otherwise() {
    let metrics = |server: &Fixture| children(server).autoscaler.unwrap().spec.unwrap().metrics.unwrap();
    let by_default = metrics(&server("demo").container("example/server").autoscaled(1, 5));
    let resource = by_default[0].container_resource.as_ref().unwrap();
    assert_eq!((resource.container.as_str(), resource.name.as_str()), ("mcp-server", "cpu"));
    assert_eq!((by_default.len(), resource.target.average_utilization), (1, Some(80)));
    let memory_only = server("demo").autoscaled(1, 5).with(|spec| {
        spec.autoscaling.as_mut().unwrap().target_memory_utilization_percentage = Some(70);
    });
    let memory_only = metrics(&memory_only);
    assert_eq!((memory_only.len(), memory_only[0].container_resource.as_ref().unwrap().name.as_str()), (1, "memory"));
    let given = server("demo").autoscaled(1, 5).with(|spec| {
        let metric = serde_json::json!({"type": "Pods", "pods": {"metric": {"name": "calls"}, "target": {"type": "AverageValue"}}});
        spec.autoscaling.as_mut().unwrap().metrics = vec![serde_json::from_value(metric).unwrap()];
    });
    assert_eq!(metrics(&given)[0].type_, "Pods");
    assert!(children(&server("demo")).autoscaler.is_none());
}

#[test]
fn under_an_autoscaler_the_number_of_pods_is_not_ours() {
    let replicas = |server: &Fixture| children(server).deployment.spec.unwrap().replicas;
    assert_eq!(replicas(&server("demo").replicas(3)), Some(3));
    assert_eq!(replicas(&server("demo").replicas(3).autoscaled(1, 5)), None);
}

/// Two pods on two nodes would wait for one disk for ever.
#[test]
fn pods_that_write_to_a_claim_are_replaced_not_rolled() {
    let kind = |volume: serde_json::Value, strategy: Strategy| {
        let server = server("demo").container("example/server").with(|spec| {
            spec.pod = serde_json::from_value(serde_json::json!({"volumes": [volume]})).unwrap();
            spec.strategy = strategy;
        });
        children(&server).deployment.spec.unwrap().strategy.unwrap().type_.unwrap()
    };
    let claim = |read_only: bool| serde_json::json!({"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": read_only}});
    let scratch = || serde_json::json!({"name": "data", "emptyDir": {}});
    assert_eq!(kind(claim(false), Strategy::Auto), "Recreate");
    assert_eq!(kind(claim(true), Strategy::Auto), "RollingUpdate");
    assert_eq!(kind(scratch(), Strategy::Auto), "RollingUpdate");
    assert_eq!(kind(claim(false), Strategy::RollingUpdate), "RollingUpdate", "many nodes can have it, the user says");
    assert_eq!(kind(scratch(), Strategy::Recreate), "Recreate");
    let mounting = server("demo").container("example/server").with(|spec| {
        spec.pod = serde_json::from_value(serde_json::json!({"volumes": [claim(false)]})).unwrap();
    });
    let refs = Resolved { shared_claims: ["data".to_owned()].into(), ..Resolved::default() };
    let shared = desired(&mounting, &refs, &settings()).unwrap().deployment.spec.unwrap().strategy.unwrap();
    assert_eq!(shared.type_.as_deref(), Some("RollingUpdate"), "many nodes can have it, the claim says");
}

#[test]
fn other_migrations_are_another_job_and_other_timeouts_are_not() {
    let with = |migrations: serde_json::Value| {
        let database = serde_json::json!({"urlSecretRef": {"name": "db", "key": "url"}, "migrations": migrations});
        let server = server("demo").container("example/server:1").with(|spec| {
            spec.database = Some(serde_json::from_value(database).unwrap());
        });
        let children = children(&server);
        let (job, hash) = children.migrations.unwrap();
        let migrated = children.deployment.metadata.annotations.unwrap().remove("mcp-operator.dev/migrated");
        assert_eq!(migrated.as_ref(), Some(&hash), "the pods say what they came after");
        (job.metadata.name.clone().unwrap(), job.spec.unwrap().template.spec.unwrap().containers.remove(0))
    };
    let (name, container) = with(serde_json::json!({"command": ["migrate"]}));
    assert_eq!(container.image.as_deref(), Some("example/server:1"), "the backend's own");
    let url = &container.env.unwrap()[0];
    assert_eq!(url.name, "DATABASE_URL");
    assert_eq!(url.value_from.as_ref().unwrap().secret_key_ref.as_ref().unwrap().name, "db");
    assert_eq!(with(serde_json::json!({"command": ["migrate"], "timeoutSeconds": 5, "backoffLimit": 0})).0, name);
    assert_ne!(with(serde_json::json!({"command": ["migrate", "up"]})).0, name);
    assert_ne!(with(serde_json::json!({"command": ["migrate"], "image": "example/server:2"})).0, name);
    assert!(children(&server("demo")).deployment.metadata.annotations.is_none());
}
