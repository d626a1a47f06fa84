//! What is kept of IngressClasses.

use k8s_openapi::api::networking::v1::IngressClass;

use super::table::{Entry, Index, Key};

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// One IngressClass.
#[derive(Clone, Debug)]
pub struct ClassView {
    /// Its name.
    pub name: String,
    /// `spec.controller`.
    pub controller: String,
    /// It is the cluster's default.
    pub default: bool,
    resource_version: String,
}

impl ClassView {
    /// Trims an IngressClass.
    #[must_use]
    pub fn of(class: IngressClass) -> Self {
        let annotations = class.metadata.annotations.unwrap_or_default();
        Self {
            name: class.metadata.name.unwrap_or_default(),
            controller: class.spec.and_then(|spec| spec.controller).unwrap_or_default(),
            default: annotations.get(DEFAULT).is_some_and(|value| value == "true"),
            resource_version: class.metadata.resource_version.unwrap_or_default(),
        }
    }
}

impl Entry for ClassView {
    fn key(&self) -> Key {
        Key::new("", &self.name)
    }
    fn resource_version(&self) -> &str {
        &self.resource_version
    }
    fn indexes(&self) -> Vec<Index> {
        Vec::new()
    }
}
