//! Resource quantities as users write them: `500m`, `"1"` or plain `1`.
//!
//! k8s-openapi's own `Quantity` accepts strings only, where Kubernetes takes numbers too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Kubernetes quantity, kept in the form in which it was written.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Quantity(pub String);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(i64),
            String(String),
        }
        Ok(match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(number) => Self(number.to_string()),
            IntOrString::String(text) => Self(text),
        })
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    /// The schema that Kubernetes' own types have.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
        })
    }
}

/// Quantities by the names of resources. Few, and every server has some: a list takes a tenth of the memory of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantities(pub Box<[(String, Quantity)]>);

impl Quantities {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Quantity)> for Quantities {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(quantities: I) -> Self {
        Self(quantities.into_iter().collect())
    }
}

impl Serialize for Quantities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, quantity)| (name, quantity)))
    }
}

impl<'de> Deserialize<'de> for Quantities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

impl JsonSchema for Quantities {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantities".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, Quantity>::json_schema(generator)
    }
}

/// Compute resources of one container.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside, by resource name.
    #[serde(default, skip_serializing_if = "Quantities::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: Quantities,
    /// What the container may use at most, by resource name.
    #[serde(default, skip_serializing_if = "Quantities::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: Quantities,
}

impl Resources {
    /// Requests and limits from `(name, quantity)` pairs.
    #[must_use]
    pub fn of(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, quantity)| ((*name).to_owned(), Quantity((*quantity).to_owned()))).collect()
        };
        Self { requests: map(requests), limits: map(limits) }
    }
}
