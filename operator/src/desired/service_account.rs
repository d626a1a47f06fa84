//! ServiceAccount `<name>`: an identity of the pods that is bound to nothing and whose token is not mounted.

use k8s_openapi::api::core::v1::ServiceAccount;
use mcp_crds::McpServerSpec;

use super::Identity;

/// `None` while the spec names another account.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec) -> Option<ServiceAccount> {
    spec.pod.service_account_name.is_none().then(|| ServiceAccount {
        metadata: id.meta(&id.name),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// Name of the account that the pods use.
#[must_use]
pub fn name<'a>(id: &'a Identity, spec: &'a McpServerSpec) -> &'a str {
    spec.pod.service_account_name.as_deref().unwrap_or(&id.name)
}
