//! Security of every pod that we make, applied after everything else: nothing in a spec gets past it. It gives more
//! than Pod Security `restricted` asks for.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use mcp_crds::PodIdentity;

use super::deployment::RUNTIME;

/// User and group of the runtime's image.
const RUNTIME_USER: i64 = 65532;

/// Overwrites whatever the pod says of its security.
pub fn apply(pod: &mut PodSpec, identity: Option<&PodIdentity>) {
    pod.automount_service_account_token = Some(false);
    // A Service is no business of a pod unless it asks the DNS; and the variables would leak names into user code.
    pod.enable_service_links = Some(false);
    pod.host_network = None;
    pod.host_pid = None;
    pod.host_ipc = None;
    pod.share_process_namespace = None;
    pod.security_context = Some(of_pod(identity));
    for container in pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()) {
        container.security_context = Some(of_container(container, identity));
        // The last lines of a crashed container reach the status of the server.
        container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    }
}

fn of_pod(identity: Option<&PodIdentity>) -> PodSecurityContext {
    let PodIdentity { run_as_user: _, run_as_group: _, fs_group, supplemental_groups } =
        identity.cloned().unwrap_or_default();
    PodSecurityContext {
        run_as_non_root: Some(true),
        // Lets the runtime read mounted Secrets, which belong to root and this group.
        fs_group: Some(fs_group.unwrap_or(RUNTIME_USER)),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        supplemental_groups: (!supplemental_groups.is_empty()).then_some(supplemental_groups),
        seccomp_profile: Some(runtime_default()),
        ..PodSecurityContext::default()
    }
}

fn of_container(container: &Container, identity: Option<&PodIdentity>) -> SecurityContext {
    let is_runtime = container.name == RUNTIME;
    let (user, group) = identity.map_or((None, None), |identity| (identity.run_as_user, identity.run_as_group));
    // The backend's user is its image's, if it is not root: only the image knows who may read its files.
    let default = is_runtime.then_some(RUNTIME_USER);
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        privileged: Some(false),
        run_as_non_root: Some(true),
        run_as_user: user.or(default),
        run_as_group: group.or(default),
        // The backend may write to its own layer: interpreters and package runners (npx, uvx) want caches in the home
        // directory, and nothing of ours is in that container to be protected from it.
        read_only_root_filesystem: is_runtime.then_some(true),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}
