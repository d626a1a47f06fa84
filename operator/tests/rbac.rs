//! The chart's roles are the table in code. `UPDATE=1 cargo test -p mcp-operator --test rbac` writes them.

use std::path::Path;

use mcp_operator::rbac::{CLUSTER, ELECTION, Rule, SECRETS, SERVED, rules};

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
    assert_eq!(secrets.len(), SECRETS.len(), "nowhere but in the table of their own");
    for rule in secrets {
        assert_eq!(rule.resources, ["secrets"], "a rule of its own");
        assert!(rule.verbs.iter().all(|verb| !["delete", "update"].contains(verb)));
    }
    assert!(!SECRETS.iter().any(|(access, rule)| *access != "Full" && rule.verbs.contains(&"get")));
}

/// What the chart's value says the flag understands, and what it does not name has no rule.
#[test]
fn the_chart_knows_every_kind_of_access_to_secrets() {
    use clap::ValueEnum;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/mcp-operator/values.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let flags: Vec<_> = mcp_operator::settings::SecretAccess::value_variants()
        .iter()
        .filter_map(|access| Some(access.to_possible_value()?.get_name().to_owned()))
        .collect();
    assert_eq!(schema["properties"]["secretAccess"]["enum"], serde_json::json!(flags));
    assert_eq!(SECRETS.iter().map(|(access, _)| *access).collect::<Vec<_>>(), ["Full", "NoGet"]);
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
        let secrets = if name == "rules" { secrets() } else { String::new() };
        text.push_str(&format!(
            "\n{{{{- /* {comment} */ -}}}}\n{{{{- define \"mcp-operator.{name}\" -}}}}\n{list}{secrets}{{{{- end -}}}}\n"
        ));
    }
    text
}

/// One of the rules, or none.
fn secrets() -> String {
    let of = |(access, rule): &(&str, Rule)| {
        format!("{{{{- if eq .Values.secretAccess \"{access}\" }}}}\n{}{{{{- end }}}}\n", yaml(rule))
    };
    SECRETS.iter().map(of).collect()
}

fn yaml(rule: &Rule) -> String {
    let Rule { group, resources, names, verbs, why } = rule;
    let group = if group.is_empty() { "\"\"" } else { group };
    let names = if names.is_empty() { String::new() } else { format!("  resourceNames: [{}]\n", names.join(", ")) };
    let [resources, verbs] = [resources, verbs].map(|words| words.join(", "));
    format!("# {why}\n- apiGroups: [{group}]\n  resources: [{resources}]\n{names}  verbs: [{verbs}]\n")
}
