//! What the API server takes and the operator refuses: each with field, value and remedy.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod support;

use mcp_crds::McpServerSpec;
use mcp_operator::desired::{Resolved, desired};
use serde_json::{Value, json};
use support::fixture::{Fixture, server};
use support::settings;

fn refusal(server: &Fixture) -> String {
    desired(server, &Resolved::default(), &settings()).unwrap_err().to_string()
}

/// A server with a container that has `fields`, in a pod with a volume `data`.
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
fn container(fields: Value) -> Fixture {
    let mut container = json!({"image": "example/server"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server("demo").with(|spec| {
        spec.backend = serde_json::from_value(json!({"container": container})).unwrap();
        spec.pod = serde_json::from_value(json!({"volumes": [{"name": "data", "emptyDir": {}}]})).unwrap();
    })
}

#[test]
fn a_mount_names_a_volume_of_the_user() {
    let mounts = |name: &str, path: &str| json!({"volumeMounts": [{"name": name, "mountPath": path}]});
    assert!(desired(&container(mounts("data", "/data")), &Resolved::default(), &settings()).is_ok());
    assert_eq!(
        refusal(&container(mounts("dada", "/data"))),
        "spec.backend.container.volumeMounts[0].name: \"dada\" is not in spec.pod.volumes; name a volume of \
         spec.pod.volumes, or add it there"
    );
    assert!(refusal(&container(mounts("data", "data"))).contains("\"data\" is no absolute path; begin with '/'"));
}

/// The runtime's volumes are in the same pod: its keys must not get into the user's container by name.
#[test]
fn the_runtimes_keys_cannot_be_mounted() {
    let keys = json!({"volumeMounts": [{"name": "mcp-keys", "mountPath": "/keys"}]});
    assert!(refusal(&container(keys)).contains("\"mcp-keys\" is not in spec.pod.volumes"));
}

#[test]
fn a_mount_does_not_spread_to_the_node() {
    let mount = json!({"volumeMounts": [{"name": "data", "mountPath": "/d", "mountPropagation": "Bidirectional"}]});
    assert!(refusal(&container(mount)).contains("Bidirectional needs a privileged pod; use None"));
}

#[test]
fn a_probe_asks_the_pod_itself() {
    for member in ["httpGet", "tcpSocket"] {
        let probe = json!({"probes": {"startup": {member: {"port": 80, "host": "169.254.169.254"}}}});
        let refusal = refusal(&container(probe));
        let start = format!("spec.backend.container.probes.startup.{member}.host: \"169.254.169.254\" would make");
        assert!(refusal.starts_with(&start), "{refusal}");
    }
}

#[test]
fn the_token_of_another_account_is_not_handed_out() {
    let token = json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}, "name": "token"});
    let with = |account: Option<&str>| {
        let pod = json!({"volumes": [token], "serviceAccountName": account});
        server("demo").with(|spec| spec.pod = serde_json::from_value(pod).unwrap())
    };
    assert!(desired(&with(None), &Resolved::default(), &settings()).is_ok(), "its own account has no rights");
    assert_eq!(
        refusal(&with(Some("cluster-admin"))),
        "spec.pod.volumes[0].projected.sources[0].serviceAccountToken: would hand out the token of ServiceAccount \
         \"cluster-admin\"; remove it, or remove spec.pod.serviceAccountName"
    );
}

#[test]
fn the_operators_annotations_are_not_the_users() {
    type Set = fn(&mut McpServerSpec, String);
    let fields: [(&str, Set); 3] = [
        ("spec.service.annotations", |spec, key| _ = spec.service.annotations.insert(key, String::new())),
        ("spec.pod.annotations", |spec, key| _ = spec.pod.annotations.insert(key, String::new())),
        ("spec.expose.ingress.annotations", |spec, key| {
            spec.expose.as_mut().unwrap().ingress.annotations.insert(key, String::new());
        }),
    ];
    for (field, set) in fields {
        let server = server("demo").exposed("a.example").with(|spec| set(spec, "mcp-operator.dev/intent".to_owned()));
        assert_eq!(
            refusal(&server),
            format!("{field}: \"mcp-operator.dev/intent\" is the operator's; choose another prefix")
        );
    }
}

#[test]
fn an_annotation_does_not_switch_apparmor_off() {
    let key = "container.apparmor.security.beta.kubernetes.io/mcp-server".to_owned();
    let server = server("demo").with(|spec| _ = spec.pod.annotations.insert(key, "unconfined".to_owned()));
    assert!(refusal(&server).contains("would change the pod's AppArmor profile"));
}

#[test]
fn the_runtimes_own_paths_are_taken() {
    for path in ["/health", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"] {
        let server =
            server("demo").exposed("a.example").with(|spec| spec.expose.as_mut().unwrap().path = path.to_owned());
        assert_eq!(
            refusal(&server),
            format!("spec.expose.path: {path:?} is answered by the runtime itself; choose another path, as in /mcp")
        );
    }
}

/// CEL refuses it too; a definition without its rules must not open a server to the world.
#[test]
fn nothing_is_exposed_without_saying_to_whom() {
    let server = server("demo").exposed("a.example").with(|spec| spec.auth = None);
    assert!(refusal(&server).starts_with("spec.auth: is missing, and expose needs it; name the issuers"));
}

#[test]
fn a_url_that_is_none_is_named() {
    let server = server("demo").protected_by("https://").exposed("a.example");
    let refusal = refusal(&server);
    assert!(refusal.starts_with("spec.auth.issuers[0].url: \"https://\" is no URL"), "{refusal}");
}

#[test]
fn a_scope_that_includes_itself_is_refused_before_the_runtime_does() {
    let server = server("demo").protected_by("https://one.example").with(|spec| {
        let circle = json!({"admin": ["write"], "write": ["admin"]});
        spec.auth.as_mut().unwrap().scope_hierarchy = serde_json::from_value(circle).unwrap();
    });
    let refusal = refusal(&server);
    assert!(refusal.contains("auth.scope_hierarchy") && refusal.contains("break the circle"), "{refusal}");
}
