//! The finished CustomResourceDefinition: what the derive generates, and what it cannot say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::McpServer;

/// The definition as it is committed, shipped and printed. A test keeps it equal to [`mcpservers`].
pub const YAML: &str = include_str!("../mcpservers.yaml");

/// The `McpServer` definition, from the Rust types.
#[must_use]
pub fn mcpservers() -> CustomResourceDefinition {
    let mut definition = McpServer::crd();
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            schema.title = None;
            for_each(schema, &mut refuse_null);
        }
    }
    definition
}

/// Without `nullable` the API server drops a `null` before it validates: `has(self.field)` in our rules then means "has
/// a value", and defaults apply. With it, `expose: null` would count as exposed.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
}

fn for_each(schema: &mut JSONSchemaProps, change: &mut impl FnMut(&mut JSONSchemaProps)) {
    change(schema);
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(|each| for_each(each, change));
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => for_each(items, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(|each| for_each(each, change)),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        for_each(values, change);
    }
}
