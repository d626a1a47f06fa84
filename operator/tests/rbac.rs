//! The chart's roles are the table in code. `UPDATE=1 cargo test -p mcp-operator --test rbac` writes them.

use std::path::Path;

use mcp_operator::rbac::{CLUSTER, ELECTION, Rule, SERVED, rules};

#[test]
fn the_chart_grants_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/mcp-operator/templates/_rules.tpl");
    let wanted = chart();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    similar_asserts::assert_eq!(found, wanted, "run UPDATE=1 cargo test -p mcp-operator --test rbac");
}

#[test]
fn nothing_can_raise_its_own_privileges() {
    const FORBIDDEN: &[&str] = &["*", "escalate", "bind", "impersonate", "deletecollection", "approve", "sign"];
    for rule in rules() {
        let words = [rule.verbs, rule.resources, &[rule.group]].concat();
        assert!(words.iter().all(|word| !FORBIDDEN.contains(word)), "{rule:?}");
        assert_ne!(rule.group, "rbac.authorization.k8s.io");
        let subresources = rule.resources.iter().filter(|resource| resource.contains('/'));
        assert!(subresources.clone().all(|resource| *resource == "mcpservers/status"), "{rule:?}");
        let writes = rule.verbs.iter().any(|verb| !["get", "list", "watch"].contains(verb));
        assert!(!(writes && rule.resources.contains(&"pods")), "code could be run in any pod: {rule:?}");
    }
}

#[test]
fn secrets_are_never_deleted_or_replaced() {
    let secrets: Vec<_> = rules().filter(|rule| rule.resources.contains(&"secrets")).collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0].resources, ["secrets"], "a rule of its own");
    assert!(secrets[0].verbs.iter().all(|verb| !["delete", "update"].contains(verb)));
}

fn chart() -> String {
    let mut text = "{{- /*\nGenerated from operator/src/rbac.rs: UPDATE=1 cargo test -p mcp-operator --test rbac\n\
        `list` on secrets means read: see docs/security.md.\n*/ -}}\n"
        .to_owned();
    let parts = [
        ("rules", "Where the operator serves McpServers.", SERVED),
        ("clusterRules", "What is not in a namespace: only where the operator serves all of them.", CLUSTER),
        ("leaseRules", "In the operator's own namespace.", ELECTION),
    ];
    for (name, comment, rules) in parts {
        let list = rules.iter().map(yaml).collect::<String>();
        text.push_str(&format!(
            "\n{{{{- /* {comment} */ -}}}}\n{{{{- define \"mcp-operator.{name}\" -}}}}\n{list}{{{{- end -}}}}\n"
        ));
    }
    text
}

fn yaml(rule: &Rule) -> String {
    let Rule { group, resources, names, verbs, why } = rule;
    let group = if group.is_empty() { "\"\"" } else { group };
    let names = if names.is_empty() { String::new() } else { format!("  resourceNames: [{}]\n", names.join(", ")) };
    let [resources, verbs] = [resources, verbs].map(|words| words.join(", "));
    format!("# {why}\n- apiGroups: [{group}]\n  resources: [{resources}]\n{names}  verbs: [{verbs}]\n")
}
