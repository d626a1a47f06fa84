//! What holds for the children of any valid server.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod support;

use mcp_operator::desired::{Children, EnvDigest, Resolved, desired};
use proptest::prelude::*;
use serde_json::Value;
use support::fixture::{Fixture, NAMESPACE, UID};
use support::{any, objects, pod_security, settings};

/// Any server with its children.
fn rendered() -> impl Strategy<Value = (Fixture, Resolved, Children)> {
    (any::server(), any::controller(), proptest::bool::ANY).prop_map(|(server, ingress_controller, shared)| {
        let hosts = server.spec.expose.iter().flat_map(|expose| expose.hosts.iter().take(1).cloned());
        let shared_hosts = if shared { hosts.collect() } else { Default::default() };
        let env_digest = Some(EnvDigest { digest: "0a1b".to_owned(), versions: "1a2b".to_owned() });
        let refs = Resolved { ingress_controller, shared_hosts, env_digest, ..Resolved::default() };
        let children = desired(&server, &refs, &settings()).unwrap();
        (server, refs, children)
    })
}

fn template(children: &Children) -> Value {
    serde_json::to_value(&children.deployment.spec.as_ref().unwrap().template).unwrap()
}

/// The configuration, and nothing else but a count.
fn file(config_map: &k8s_openapi::api::core::v1::ConfigMap) -> &str {
    let (mut files, others): (Vec<_>, Vec<_>) =
        config_map.data.as_ref().unwrap().iter().partition(|(name, _)| name.ends_with(".yaml"));
    assert!(others.into_iter().all(|(name, text)| name == "replicas" && text.parse::<u32>().unwrap() > 0));
    let (_, file) = files.pop().unwrap();
    assert!(files.is_empty());
    file
}

/// RFC 1123.
fn is_dns_label(name: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|byte| letter(byte) || *byte == b'-')
        && bytes.first().is_some_and(letter)
        && bytes.last().is_some_and(letter)
}

/// The checker of the property below sees each way to break the standard.
#[test]
fn a_relaxed_pod_is_noticed() {
    let children =
        desired(&support::fixture::server("demo").container("a/b"), &Resolved::default(), &settings()).unwrap();
    let restricted = template(&children);
    assert_eq!(pod_security::violations(&restricted), Vec::<String>::new());
    let breaks = [
        ("/spec/hostNetwork", serde_json::json!(true)),
        ("/spec/volumes", serde_json::json!([{"name": "node", "hostPath": {"path": "/"}}])),
        (
            "/metadata/annotations",
            serde_json::json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}),
        ),
        ("/spec/securityContext/sysctls", serde_json::json!([{"name": "kernel.msgmax", "value": "1"}])),
        ("/spec/containers/0/securityContext/privileged", serde_json::json!(true)),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", serde_json::json!(null)),
        ("/spec/containers/0/securityContext/runAsUser", serde_json::json!(0)),
        ("/spec/containers/0/securityContext/seccompProfile", serde_json::json!({"type": "Unconfined"})),
        ("/spec/initContainers/0/securityContext/capabilities/add", serde_json::json!(["SYS_ADMIN"])),
        ("/spec/initContainers/0/securityContext/capabilities/drop", serde_json::json!(["NET_RAW"])),
        ("/spec/initContainers/0/securityContext/runAsNonRoot", serde_json::json!(false)),
        ("/spec/initContainers/0/ports", serde_json::json!([{"containerPort": 80, "hostPort": 80}])),
        ("/spec/initContainers/0/startupProbe", serde_json::json!({"tcpSocket": {"port": 80, "host": "10.0.0.1"}})),
    ];
    for (path, value) in breaks {
        let mut relaxed = restricted.clone();
        let (parent, field) = path.rsplit_once('/').unwrap();
        relaxed.pointer_mut(parent).unwrap()[field] = value;
        assert_eq!(pod_security::violations(&relaxed).len(), 1, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn rendering_twice_gives_the_same((server, refs, children) in rendered()) {
        prop_assert_eq!(desired(&server, &refs, &settings()).unwrap(), children);
    }

    #[test]
    fn every_pod_is_restricted((_, _, children) in rendered()) {
        prop_assert_eq!(pod_security::violations(&template(&children)), Vec::<String>::new());
        if let Some((job, _)) = &children.migrations {
            let job = serde_json::to_value(job).unwrap();
            prop_assert_eq!(pod_security::violations(&job["spec"]["template"]), Vec::<String>::new());
        }
    }

    /// A Service or Deployment that took the pods of migrations for its own would send requests to them, or delete them.
    #[test]
    fn nobody_selects_the_pods_of_migrations((_, _, children) in rendered()) {
        if let Some((job, _)) = &children.migrations {
            let job = serde_json::to_value(job).unwrap();
            let labels = job["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
            let service = serde_json::to_value(&children.service).unwrap();
            let selector = service["spec"]["selector"].as_object().unwrap();
            prop_assert!(selector.iter().any(|(key, value)| labels.get(key) != Some(value)));
            prop_assert_eq!(&labels["mcp-operator.dev/owner-uid"], UID);
        }
    }

    #[test]
    fn selectors_find_the_pods_and_only_those_of_this_uid((_, _, children) in rendered()) {
        let template = template(&children);
        let labels = template["metadata"]["labels"].as_object().unwrap();
        let deployment = serde_json::to_value(&children.deployment).unwrap();
        let service = serde_json::to_value(&children.service).unwrap();
        for selector in [&deployment["spec"]["selector"]["matchLabels"], &service["spec"]["selector"]] {
            let selector = selector.as_object().unwrap();
            prop_assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
            prop_assert_eq!(&selector["mcp-operator.dev/owner-uid"], UID);
        }
    }

    #[test]
    fn children_are_named_labelled_and_owned((server, _, children) in rendered()) {
        let name = server.metadata.name.as_deref().unwrap();
        for object in objects::all(&children) {
            let meta = &object["metadata"];
            let own = meta["name"].as_str().unwrap();
            let longest = if object["kind"] == "ConfigMap" { 253 } else { 63 };
            prop_assert!(is_dns_label(own) && own.len() <= longest, "{} {}", object["kind"], own);
            prop_assert_eq!(&meta["namespace"], NAMESPACE);
            let labels = &meta["labels"];
            prop_assert_eq!(&labels["app.kubernetes.io/name"], "mcp-server");
            prop_assert_eq!(&labels["app.kubernetes.io/instance"], name);
            prop_assert_eq!(&labels["app.kubernetes.io/managed-by"], "mcp-operator");
            prop_assert_eq!(&labels["mcp-operator.dev/owner-uid"], UID);
            let owners = meta["ownerReferences"].as_array().unwrap();
            prop_assert_eq!(owners.len(), 1);
            let expected = serde_json::json!({
                "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "name": name, "uid": UID,
                "controller": true, "blockOwnerDeletion": true,
            });
            let mut owner = owners[0].clone();
            owner.as_object_mut().unwrap().entry("blockOwnerDeletion").or_insert(true.into());
            prop_assert_eq!(owner, expected);
        }
    }

    #[test]
    fn the_users_labels_never_override_ours((server, _, children) in rendered()) {
        let template = template(&children);
        let labels = &template["metadata"]["labels"];
        prop_assert_eq!(&labels["mcp-operator.dev/owner-uid"], UID);
        prop_assert_eq!(labels["app.kubernetes.io/instance"].as_str(), server.metadata.name.as_deref());
        let users = server.spec.pod.labels.iter().filter(|(key, _)| !key.contains('/'));
        for (key, value) in users {
            prop_assert_eq!(&labels[key], value);
        }
    }

    #[test]
    fn the_runtime_reads_what_is_rendered((_, _, children) in rendered()) {
        let boot = mcp_server_config::parse_boot(file(&children.boot_config)).unwrap();
        let (live, unknown) = mcp_server_config::parse_live(file(&children.live_config)).unwrap();
        prop_assert_eq!(unknown, vec![]);
        prop_assert!(boot.auth.is_none() && boot.http.is_none() && boot.rate_limits.is_none() && boot.cors.is_none());
        prop_assert!(live.auth.is_some(), "without auth the runtime would refuse everybody");
        prop_assert_eq!(mcp_server_config::digest(file(&children.live_config)), children.live_digest);
    }

    #[test]
    fn keys_are_in_the_secret_and_nowhere_else((_, _, children) in rendered()) {
        let secrets_of = |object: &Value| {
            let text = object.to_string();
            // Base64 of three equal bytes, as Secrets have them.
            ["U1NT", "UlJS", "UFBQ"].iter().filter(|key| text.contains(&key.repeat(4))).count()
        };
        for object in objects::all(&children) {
            prop_assert_eq!(secrets_of(&object), if object["kind"] == "Secret" { 3 } else { 0 });
        }
        prop_assert!(!format!("{:?}", objects::MATERIAL).contains("83"), "Debug must not print keys");
    }

    /// Environment and arguments may hold what is nobody else's business.
    #[test]
    fn the_users_words_stay_in_the_users_container((server, _, children) in rendered()) {
        let written = serde_json::to_string(&server.spec.backend).unwrap().matches("hunter2-").count();
        let mut seen = 0;
        for object in objects::all(&children) {
            if object["kind"] == "Deployment" {
                let pod = &object["spec"]["template"]["spec"];
                seen += pod["initContainers"].to_string().matches("hunter2-").count();
                prop_assert_eq!(object.to_string().matches("hunter2-").count(), seen);
            } else {
                prop_assert!(!object.to_string().contains("hunter2-"));
            }
        }
        prop_assert_eq!(seen, written);
    }

    #[test]
    fn management_is_never_routed((server, _, children) in rendered()) {
        let ingress = serde_json::to_value(&children.ingress).unwrap();
        prop_assert!(!ingress.to_string().contains("management"));
        let route = serde_json::to_value(&children.http_route).unwrap();
        let ports: Vec<_> = route["spec"]["rules"].as_array().into_iter().flatten()
            .flat_map(|rule| rule["backendRefs"].as_array().unwrap()).map(|service| &service["port"]).collect();
        let wanted = if server.spec.tls.is_some() { 443 } else { 80 };
        prop_assert!(ports.iter().all(|port| **port == wanted));
        let service = children.service.spec.unwrap();
        if service.type_.as_deref() != Some("ClusterIP") {
            prop_assert!(service.ports.unwrap().iter().all(|port| port.name.as_deref() == Some("mcp")));
        }
    }

    /// SIGKILL must not meet a runtime that still drains.
    #[test]
    fn pods_may_live_longer_than_they_drain((_, _, children) in rendered()) {
        let boot = mcp_server_config::parse_boot(file(&children.boot_config)).unwrap();
        let pod = template(&children);
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        prop_assert!(grace >= u64::from(boot.drain.grace_seconds + boot.drain.timeout_seconds) + 10);
    }

    /// Every file that the configuration names is mounted into the runtime.
    #[test]
    fn the_files_of_the_configuration_exist((_, _, children) in rendered()) {
        let pod = template(&children);
        let runtime = &pod["spec"]["containers"][0];
        let mounts: Vec<_> = runtime["volumeMounts"].as_array().unwrap().iter()
            .map(|mount| format!("{}/", mount["mountPath"].as_str().unwrap())).collect();
        let volumes: Vec<_> = pod["spec"]["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
        for mount in runtime["volumeMounts"].as_array().unwrap() {
            prop_assert_eq!(volumes.iter().filter(|name| **name == &mount["name"]).count(), 1);
        }
        let arguments = runtime["args"].as_array().unwrap().iter().filter_map(Value::as_str);
        let texts = format!("{}\n{}", file(&children.boot_config), file(&children.live_config));
        let named = texts.split_whitespace().chain(arguments)
            .filter(|word| word.starts_with("/etc/mcp-server/") || word.starts_with("/var/log/"));
        let mut count = 0;
        for path in named {
            count += 1;
            prop_assert!(mounts.iter().any(|mount| format!("{path}/").starts_with(mount.as_str())), "{path} is not mounted");
        }
        prop_assert!(count >= 3, "keys, boot and live file at least");
    }
}
