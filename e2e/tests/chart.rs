//! The chart, rendered by the real Helm: what its switches do, what its schema refuses, and that a real API server takes
//! all of it. That the operator works with exactly these rights is tested on a node (tests/node.rs).

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::clusters::ApiLevel;
use e2e::clusters::api_level::Controllers;
use serde_json::{Value, json};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn chart() -> PathBuf {
    repository().join("charts/mcp-operator")
}

fn helm(arguments: &[&str]) -> Output {
    let built = Command::new(repository().join("e2e/kubernetes/build.sh")).arg("helm").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let line = String::from_utf8(built.stdout).unwrap();
    let folder = line.trim().strip_prefix("helm=").unwrap();
    Command::new(Path::new(folder).join("helm")).args(arguments).output().unwrap()
}

fn template(values: &[&str]) -> Output {
    template_as("mcp-operator", values)
}

fn template_as(release: &str, values: &[&str]) -> Output {
    let chart = chart();
    let mut arguments = vec!["template", release, chart.to_str().unwrap(), "--namespace", "operators"];
    for value in values {
        arguments.extend(["--set", value]);
    }
    helm(&arguments)
}

/// The rendered objects.
fn objects(values: &[&str]) -> Vec<Value> {
    parse(template(values))
}

fn parse(output: Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn the_one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &the_one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    serde_json::from_value(container["args"].clone()).unwrap()
}

#[test]
fn the_chart_passes_helms_own_lint() {
    let output = helm(&["lint", "--strict", chart().to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_typo_in_a_value_is_refused_with_its_name() {
    for (value, word) in [
        ("replicaCont=2", "replicaCont"),
        ("image.tagg=2", "tagg"),
        ("runtime.image.pullpolicy=Always", "pullpolicy"),
        ("metrics.service.enable=true", "enable"),
        ("probeVia=carrier-pigeon", "probeVia"),
        ("watchNamespaces={Team A}", "watchNamespaces"),
    ] {
        let output = template(&[value]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{value}");
        assert!(message.contains(word), "{value}: {message}");
    }
    assert!(template(&["global.ofAnotherChart=1"]).status.success(), "global values belong to all charts");
}

#[test]
fn the_schema_knows_exactly_the_values_that_exist() {
    let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap();
    let schema = std::fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(keys(&schema["properties"]), keys(&values));
    for (name, value) in values.as_object().unwrap() {
        let properties = &schema["properties"][name]["properties"];
        if properties.is_object() && !name.ends_with("Probe") {
            assert_eq!(keys(properties), keys(value), "{name}");
        }
    }
}

fn keys(object: &Value) -> BTreeSet<&String> {
    object.as_object().unwrap().keys().collect()
}

#[test]
fn serving_all_namespaces_takes_a_cluster_role() {
    let objects = objects(&[]);
    the_one(&objects, "ClusterRole");
    the_one(&objects, "ClusterRoleBinding");
    assert_eq!(the_one(&objects, "Role")["metadata"]["name"], "mcp-operator-leader-election");
    assert!(!arguments(&objects).iter().any(|argument| argument.starts_with("--namespaces")));
}

#[test]
fn serving_some_namespaces_takes_roles_only() {
    let objects = objects(&["watchNamespaces={team-a,team-b}"]);
    assert!(of_kind(&objects, "ClusterRole").is_empty());
    assert!(of_kind(&objects, "ClusterRoleBinding").is_empty());
    let namespaces: Vec<_> =
        of_kind(&objects, "Role").iter().map(|role| role["metadata"]["namespace"].clone()).collect();
    assert_eq!(namespaces, ["team-a", "team-b", "operators"]);
    for role in of_kind(&objects, "Role") {
        assert!(!role.to_string().contains("ingressclasses"), "a Role cannot grant what is in no namespace");
    }
    assert!(arguments(&objects).contains(&"--namespaces=team-a,team-b".to_owned()));
}

/// Helm installs a role that the flag knows of: more would be a right without a use, less an error in the log.
#[test]
fn access_to_secrets_is_as_much_as_the_value_says() {
    for (access, verbs) in [
        ("Full", json!(["get", "list", "watch", "create", "patch"])),
        ("NoGet", json!(["list", "watch", "create", "patch"])),
        ("None", Value::Null),
    ] {
        let objects = objects(&[&format!("secretAccess={access}")]);
        let rules = the_one(&objects, "ClusterRole")["rules"].as_array().unwrap();
        let of_secrets: Vec<_> = rules.iter().filter(|rule| rule["resources"] == json!(["secrets"])).collect();
        assert_eq!(of_secrets.first().map_or(Value::Null, |rule| rule["verbs"].clone()), verbs, "{access}");
        assert!(of_secrets.len() < 2 && arguments(&objects).contains(&format!("--secret-access={access}")));
    }
    assert!(!template(&["secretAccess=Some"]).status.success());
}

/// Operators that hold one Lease work in turns: those of another release would wait for ever.
#[test]
fn each_release_holds_a_lease_of_its_own() {
    for release in ["mcp-operator", "team-a", "2024"] {
        let objects = parse(template_as(release, &[]));
        let rules = the_one(&objects, "Role")["rules"].as_array().unwrap();
        let names: Vec<_> = rules.iter().filter_map(|rule| rule["resourceNames"].as_array()).collect();
        assert_eq!(names, [&vec![json!(release)]]);
        assert!(arguments(&objects).contains(&format!("--lease-name={release}")));
    }
}

#[test]
fn the_pod_runs_as_an_account_that_exists() {
    let account = |values: &[&str]| {
        let objects = objects(values);
        let account = the_one(&objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"].clone();
        assert_eq!(the_one(&objects, "ClusterRoleBinding")["subjects"][0]["name"], account);
        let made: Vec<_> =
            of_kind(&objects, "ServiceAccount").iter().map(|one| one["metadata"]["name"].clone()).collect();
        (account, made)
    };
    assert_eq!(account(&[]), (json!("mcp-operator"), vec![json!("mcp-operator")]));
    assert_eq!(account(&["serviceAccount.name=a"]), (json!("a"), vec![json!("a")]));
    assert_eq!(account(&["serviceAccount.create=false", "serviceAccount.name=a"]), (json!("a"), vec![]));
    assert_eq!(account(&["serviceAccount.create=false"]), (json!("default"), vec![]), "every namespace has it");
}

#[test]
fn without_rbac_there_is_none() {
    let objects = objects(&["rbac.create=false"]);
    for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
        assert!(of_kind(&objects, kind).is_empty(), "{kind}");
    }
}

#[test]
fn a_disruption_budget_needs_a_second_replica() {
    assert!(of_kind(&objects(&[]), "PodDisruptionBudget").is_empty());
    the_one(&objects(&["replicaCount=2"]), "PodDisruptionBudget");
    assert!(
        of_kind(&objects(&["replicaCount=2", "podDisruptionBudget.enabled=false"]), "PodDisruptionBudget").is_empty()
    );
}

#[test]
fn the_definition_is_kept_unless_somebody_says_otherwise() {
    let annotations = |values: &[&str]| {
        let objects = objects(values);
        the_one(&objects, "CustomResourceDefinition")["metadata"]["annotations"].clone()
    };
    assert_eq!(annotations(&[])["helm.sh/resource-policy"], "keep");
    assert_eq!(annotations(&[])["argocd.argoproj.io/sync-options"], "ServerSideApply=true,Prune=false");
    assert!(annotations(&["crds.keep=false"])["helm.sh/resource-policy"].is_null());
    assert!(of_kind(&objects(&["crds.enabled=false"]), "CustomResourceDefinition").is_empty());
}

#[test]
fn images_are_named_by_registry_tag_and_digest() {
    let images = |values: &[&str]| {
        let objects = objects(values);
        let operator = the_one(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        let runtime = arguments(&objects)
            .into_iter()
            .find_map(|argument| argument.strip_prefix("--runtime-image=").map(str::to_owned));
        (operator.as_str().unwrap().to_owned(), runtime.unwrap())
    };
    let pair = |operator: &str, runtime: &str| (operator.to_owned(), runtime.to_owned());
    assert_eq!(images(&[]), pair("mcp-operator:0.1.0", "mcp-server:0.1.0"));
    assert_eq!(
        images(&["global.imageRegistry=registry.example:5000/team", "image.tag=1", "runtime.image.tag=2"]),
        pair("registry.example:5000/team/mcp-operator:1", "registry.example:5000/team/mcp-server:2")
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(
        images(&["image.registry=a.example", &format!("image.digest={digest}"), "image.tag=ignored"]),
        pair(&format!("a.example/mcp-operator@{digest}"), "mcp-server:0.1.0")
    );
}

#[test]
fn the_notes_warn_of_what_loses_data_or_does_nothing() {
    let notes = |values: &[&str]| {
        let chart = chart();
        let mut arguments = vec!["install", "mcp-operator", chart.to_str().unwrap(), "--dry-run=client"];
        values.iter().for_each(|value| arguments.extend(["--set", value]));
        let output = helm(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_once("NOTES:").unwrap().1.to_owned()
    };
    let plain = notes(&[]);
    assert!(!plain.contains("WARNING"), "{plain}");
    assert_eq!(plain.matches("  kubectl ").count(), 3, "{plain}");
    assert!(notes(&["crds.keep=false"]).contains("deletes the CustomResourceDefinition and with it every McpServer"));
    assert!(notes(&["crds.enabled=false"]).contains("yours to install"));
    assert!(notes(&["rbac.create=false"]).contains("the operator can do nothing"));
    assert!(notes(&["watchNamespaces={a}"]).contains("expose.ingress.profile"));
}

#[test]
fn the_alerts_are_those_that_promtool_has_tested() {
    let rules = chart().join("rules");
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let output = Command::new("promtool").current_dir(&rules).args(arguments).output();
        let output = output.expect("promtool: install the package prometheus");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
    assert!(of_kind(&objects(&[]), "PrometheusRule").is_empty());
    let rendered =
        objects(&["metrics.prometheusRule.enabled=true", "metrics.prometheusRule.labels.release=prometheus"]);
    let rule = the_one(&rendered, "PrometheusRule");
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let alerts: Value = serde_saphyr::from_str(&std::fs::read_to_string(rules.join("alerts.yaml")).unwrap()).unwrap();
    assert_eq!(rule["spec"], alerts);
}

#[test]
fn the_admission_policy_has_a_rule_for_each_restriction_and_no_other() {
    let policy = "ValidatingAdmissionPolicy";
    assert!(of_kind(&objects(&[]), policy).is_empty());
    let rules = |values: &[&str]| {
        let values: Vec<_> = values.iter().copied().chain(["admissionPolicy.enabled=true"]).collect();
        let objects = objects(&values);
        assert_eq!(
            the_one(&objects, "ValidatingAdmissionPolicyBinding")["spec"]["policyName"],
            "mcp-operator-operators"
        );
        the_one(&objects, policy)["spec"]["validations"].as_array().unwrap().len()
    };
    assert_eq!(rules(&[]), 1);
    assert_eq!(rules(&["admissionPolicy.imagePrefixes={a.example/}", "admissionPolicy.hostDomains={a.example}"]), 3);
    let quoted = template(&["admissionPolicy.enabled=true", "admissionPolicy.hostDomains={a'b}"]);
    assert!(!quoted.status.success(), "it would end the string in the expression");
}

/// Everything that can be switched on, applied to a real API server; and the operator's pod in a namespace that enforces
/// Pod Security `restricted`.
#[test]
fn a_real_api_server_takes_all_of_it_and_the_pod_is_restricted() {
    let cluster = ApiLevel::start_with(Controllers::None).unwrap();
    let everything = objects(&[
        "replicaCount=2",
        "networkPolicy.enabled=true",
        "global.commonLabels.team=a",
        "admissionPolicy.enabled=true",
        "admissionPolicy.imagePrefixes={registry.example/}",
        "admissionPolicy.hostDomains={mcp.example}",
    ]);
    let apply = |object: &Value| {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(&file, object.to_string()).unwrap();
        cluster.kubectl(&["apply", "--server-side", "--validate=strict", "-f", file.path().to_str().unwrap()])
    };
    apply(&json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "operators", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }))
    .unwrap();
    for object in &everything {
        apply(object).unwrap();
        assert_eq!(object["metadata"]["labels"]["team"], "a", "{}", object["kind"]);
    }
    refuses_what_the_policy_forbids(&cluster);
    let template = &the_one(&everything, "Deployment")["spec"]["template"];
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator", "namespace": "operators"}});
    pod["spec"] = template["spec"].clone();
    // What the controller manager would do.
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    apply(&pod).unwrap();
    pod["metadata"]["name"] = json!("relaxed");
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    assert!(apply(&pod).unwrap_err().to_string().contains("violates PodSecurity"), "the namespace enforces nothing");
}

/// The policy takes a moment until it is in force.
fn refuses_what_the_policy_forbids(cluster: &ApiLevel) {
    let create = |spec: Value, user: &[&str]| {
        let server = json!({
            "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "metadata": {"name": "a"}, "spec": spec,
        });
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(&file, server.to_string()).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let arguments = ["create", "--dry-run=server", "-n", "default", "-f", &path];
        cluster.kubectl(&arguments.iter().copied().chain(user.iter().copied()).collect::<Vec<_>>())
    };
    let image = |image: &str| json!({"backend": {"container": {"image": image}}});
    let exposed =
        |host: &str| json!({"backend": {"builtin": {}}, "expose": {"hosts": [host]}, "auth": {"anonymous": "Allow"}});
    let account = json!({"backend": {"builtin": {}}, "pod": {"serviceAccountName": "powerful"}});
    let mut refused = create(image("elsewhere.example/a"), &[]);
    for _ in 0..60 {
        if refused.is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        refused = create(image("elsewhere.example/a"), &[]);
    }
    assert!(refused.unwrap_err().to_string().contains("images must begin with one of"));
    create(image("registry.example/a"), &[]).unwrap();
    let migrating = |image: &str| {
        let database = json!({"urlSecretRef": {"name": "db", "key": "url"}, "migrations": {"image": image}});
        json!({"backend": {"builtin": {}}, "database": database})
    };
    let migrated = create(migrating("elsewhere.example/a"), &[]).unwrap_err().to_string();
    assert!(migrated.contains("images must begin with one of"), "{migrated}");
    create(migrating("registry.example/a"), &[]).unwrap();
    let host = create(exposed("a.elsewhere.example"), &[]).unwrap_err().to_string();
    assert!(host.contains("expose.hosts must be in one of the domains"), "{host}");
    create(exposed("a.mcp.example"), &[]).unwrap();
    create(account.clone(), &[]).expect("an administrator may use any account");
    let grant = ["create", "clusterrole", "servers", "--verb=create,get", "--resource=mcpservers.mcp-operator.dev"];
    cluster.kubectl(&grant).unwrap();
    cluster.kubectl(&["create", "clusterrolebinding", "servers", "--clusterrole=servers", "--user=jane"]).unwrap();
    let forbidden = create(account, &["--as=jane"]).unwrap_err().to_string();
    assert!(forbidden.contains("you need the verb use on ServiceAccount powerful"), "{forbidden}");
}
