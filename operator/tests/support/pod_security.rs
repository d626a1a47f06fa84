//! Pod Security Standard `restricted`, checked on what we render.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use serde_json::Value;

/// Everything in which a pod template breaks the standard.
pub fn violations(template: &Value) -> Vec<String> {
    let pod = &template["spec"];
    let mut found = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        must(is_false(&pod[field]), field.to_owned());
    }
    for volume in list(&pod["volumes"]) {
        let kinds: Vec<_> = volume.as_object().unwrap().keys().filter(|key| *key != "name").cloned().collect();
        must(kinds.len() == 1 && VOLUMES.contains(&kinds[0].as_str()), format!("volume {volume}"));
    }
    for (key, value) in template["metadata"]["annotations"].as_object().into_iter().flatten() {
        let apparmor = key.starts_with("container.apparmor.security.beta.kubernetes.io/");
        must(!apparmor || value == "runtime/default", format!("annotation {key}"));
    }
    let context = &pod["securityContext"];
    must(context["runAsUser"] != 0, "pod runs as root".to_owned());
    must(context.get("sysctls").is_none(), "sysctls".to_owned());
    let containers: Vec<_> =
        ["containers", "initContainers", "ephemeralContainers"].iter().flat_map(|kind| list(&pod[kind])).collect();
    must(!containers.is_empty(), "no containers were checked".to_owned());
    for container in containers {
        let name = container["name"].as_str().unwrap();
        for broken in container_violations(container, context) {
            must(false, format!("container {name}: {broken}"));
        }
    }
    found
}

const VOLUMES: &[&str] =
    &["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

fn container_violations(container: &Value, pod: &Value) -> Vec<&'static str> {
    let own = &container["securityContext"];
    let or_pod = |field: &str| if own[field].is_null() { &pod[field] } else { &own[field] };
    let capabilities = &own["capabilities"];
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
    let rules = [
        (is_false(&own["privileged"]), "privileged"),
        (own["allowPrivilegeEscalation"] == false, "may gain privileges"),
        (list(&capabilities["drop"]).iter().any(|dropped| dropped == "ALL"), "keeps capabilities"),
        (list(&capabilities["add"]).iter().all(|added| added == "NET_BIND_SERVICE"), "adds capabilities"),
        (or_pod("runAsNonRoot") == true, "may run as root"),
        (or_pod("runAsUser") != 0, "runs as root"),
        (["RuntimeDefault", "Localhost"].iter().any(|kind| or_pod("seccompProfile")["type"] == *kind), "seccomp"),
        (own["procMount"].is_null() || own["procMount"] == "Default", "procMount"),
        (list(&container["ports"]).iter().all(|port| port["hostPort"].is_null()), "host port"),
        (
            probes.iter().all(|probe| {
                let probe = &container[probe];
                probe["httpGet"]["host"].is_null() && probe["tcpSocket"]["host"].is_null()
            }),
            "probe of another host",
        ),
        (container["lifecycle"].is_null(), "lifecycle hooks are not ours to set"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
}

fn is_false(value: &Value) -> bool {
    value.is_null() || value == false
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
