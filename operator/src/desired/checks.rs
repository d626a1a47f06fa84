//! What neither the schema nor the CEL rules of the CRD can check, because it needs two fields far apart or the inside
//! of Kubernetes' own types.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Probe, VolumeMount};
use mcp_crds::{Container, McpServerSpec, Volume};

use super::Invalid;
use super::ingress::{HEALTH, WELL_KNOWN};
use crate::settings::{SecretAccess, Settings};

/// Prefix of the operator's own labels and annotations.
const OURS: &str = "mcp-operator.dev/";
/// Pod Security reads AppArmor profiles from here too.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// # Errors
/// The first thing that is wrong.
pub fn check(spec: &McpServerSpec, settings: &Settings) -> Result<(), Invalid> {
    authorities_can_be_read(spec, settings)?;
    path_is_free(spec)?;
    annotations_are_the_users(spec)?;
    for (index, volume) in spec.pod.volumes.iter().enumerate() {
        no_token_of_another_account(spec, index, volume)?;
    }
    log_volume_exists(spec)?;
    match &spec.backend.container {
        Some(container) => backend(spec, container),
        None => Ok(()),
    }
}

fn authorities_can_be_read(spec: &McpServerSpec, settings: &Settings) -> Result<(), Invalid> {
    let bundle = spec.tls.as_ref().and_then(|tls| tls.ca_bundle.as_ref());
    if settings.secret_access != SecretAccess::Full && bundle.is_some_and(|bundle| bundle.secret_key_ref.is_some()) {
        let problem = "names a Secret, and this operator was installed without the right to read one (secretAccess)";
        let remedy = "put the authorities into a ConfigMap and use configMapKeyRef";
        return Err(Invalid::new("spec.tls.caBundle.secretKeyRef", problem, remedy));
    }
    Ok(())
}

/// The runtime answers these paths itself.
fn path_is_free(spec: &McpServerSpec) -> Result<(), Invalid> {
    let Some(expose) = &spec.expose else { return Ok(()) };
    let taken = |path: &str| path == HEALTH || path == WELL_KNOWN || path.starts_with("/.well-known/");
    if taken(&expose.path) {
        let problem = format!("{:?} is answered by the runtime itself", expose.path);
        return Err(Invalid::new("spec.expose.path", problem, "choose another path, as in /mcp"));
    }
    Ok(())
}

fn annotations_are_the_users(spec: &McpServerSpec) -> Result<(), Invalid> {
    let ingress = spec.expose.iter().flat_map(|expose| expose.ingress.annotations.keys());
    let all = (ingress.map(|key| ("spec.expose.ingress.annotations", key)))
        .chain(spec.service.annotations.keys().map(|key| ("spec.service.annotations", key)))
        .chain(spec.pod.annotations.keys().map(|key| ("spec.pod.annotations", key)));
    for (field, key) in all {
        if key.contains(OURS) {
            let problem = format!("{key:?} is the operator's");
            return Err(Invalid::new(field, problem, "choose another prefix"));
        }
        if field == "spec.pod.annotations" && key.starts_with(APPARMOR) {
            let problem = format!("{key:?} would change the pod's AppArmor profile");
            return Err(Invalid::new(field, problem, "remove it: the container runtime's default is used"));
        }
    }
    Ok(())
}

/// Who may create an `McpServer` may run code in its pods: with `serviceAccountName` and its token they could act as
/// any account of the namespace.
fn no_token_of_another_account(spec: &McpServerSpec, index: usize, volume: &Volume) -> Result<(), Invalid> {
    let Some(account) = &spec.pod.service_account_name else { return Ok(()) };
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    for (place, source) in sources.enumerate() {
        if source.service_account_token.is_some() {
            let field = format!("spec.pod.volumes[{index}].projected.sources[{place}].serviceAccountToken");
            let problem = format!("would hand out the token of ServiceAccount {account:?}");
            return Err(Invalid::new(field, problem, "remove it, or remove spec.pod.serviceAccountName"));
        }
    }
    Ok(())
}

fn log_volume_exists(spec: &McpServerSpec) -> Result<(), Invalid> {
    let Some(name) = &spec.observability.log_volume else { return Ok(()) };
    if spec.pod.volumes.iter().any(|volume| volume.name == *name) {
        return Ok(());
    }
    let problem = format!("{name:?} is not in spec.pod.volumes");
    Err(Invalid::new("spec.observability.logVolume", problem, "name a volume of spec.pod.volumes, or add it there"))
}

fn backend(spec: &McpServerSpec, container: &Container) -> Result<(), Invalid> {
    let volumes: BTreeSet<&str> = spec.pod.volumes.iter().map(|volume| volume.name.as_str()).collect();
    for (index, mount) in container.volume_mounts.iter().enumerate() {
        self::mount(&format!("spec.backend.container.volumeMounts[{index}]"), mount, &volumes)?;
    }
    match container.probes.as_ref().and_then(|probes| probes.startup.as_ref()) {
        Some(probe) => startup_probe(probe),
        None => Ok(()),
    }
}

/// Only volumes of `spec.pod.volumes`: the runtime's are in the same pod, its keys among them.
fn mount(field: &str, mount: &VolumeMount, volumes: &BTreeSet<&str>) -> Result<(), Invalid> {
    if !volumes.contains(mount.name.as_str()) {
        let problem = format!("{:?} is not in spec.pod.volumes", mount.name);
        let remedy = "name a volume of spec.pod.volumes, or add it there";
        return Err(Invalid::new(format!("{field}.name"), problem, remedy));
    }
    if !mount.mount_path.starts_with('/') || mount.mount_path.contains(':') {
        let problem = format!("{:?} is no absolute path", mount.mount_path);
        return Err(Invalid::new(format!("{field}.mountPath"), problem, "begin with '/', and use no ':'"));
    }
    if mount.mount_propagation.as_deref() == Some("Bidirectional") {
        let remedy = "use None or HostToContainer";
        return Err(Invalid::new(format!("{field}.mountPropagation"), "Bidirectional needs a privileged pod", remedy));
    }
    Ok(())
}

/// Pod Security refuses probes that the kubelet would send elsewhere.
fn startup_probe(probe: &Probe) -> Result<(), Invalid> {
    let http = probe.http_get.as_ref().and_then(|get| get.host.as_ref()).map(|host| ("httpGet", host));
    let tcp = probe.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref()).map(|host| ("tcpSocket", host));
    match http.or(tcp) {
        Some((member, host)) => Err(Invalid::new(
            format!("spec.backend.container.probes.startup.{member}.host"),
            format!("{host:?} would make the node call another address"),
            "remove it: the pod itself is asked",
        )),
        None => Ok(()),
    }
}
