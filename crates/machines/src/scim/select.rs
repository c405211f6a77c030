//! Which attributes are told: `attributes` and `excludedAttributes` (RFC 7644, section 3.9).

use serde_json::{Map, Value};

use super::schema::Resource;

/// What of a resource is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    only: Vec<(&'static str, Option<&'static str>)>,
    without: Vec<(&'static str, Option<&'static str>)>,
}

impl Selection {
    /// Reads the two parameters, each a list parted by commas. Names that are unknown choose nothing.
    pub(crate) fn read(resource: &Resource, only: Option<&str>, without: Option<&str>) -> Self {
        let list = |text: Option<&str>| {
            let names = text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()).take(100);
            names.filter_map(|name| resource.path(name)).map(|(path, _)| (path.attribute, path.part)).collect()
        };
        Self { only: list(only), without: list(without) }
    }

    /// Whether this attribute is told, in part at least.
    pub(crate) fn tells(&self, attribute: &str) -> bool {
        let chosen = self.only.is_empty() || self.only.iter().any(|(name, _)| *name == attribute);
        chosen && !self.without.iter().any(|(name, part)| *name == attribute && part.is_none())
    }

    /// Leaves out what is not told. `schemas` and `id` always are.
    pub(crate) fn apply(&self, told: Value) -> Value {
        let Value::Object(told) = told else { return told };
        let mut kept = Map::new();
        for (name, value) in told {
            if name == "schemas" || name == "id" {
                kept.insert(name, value);
                continue;
            }
            if !self.tells(&name) {
                continue;
            }
            let of_this = |list: &[(&str, Option<&'static str>)]| -> Vec<Option<&'static str>> {
                list.iter().filter(|(attribute, _)| *attribute == name).map(|(_, part)| *part).collect()
            };
            let (only, without) = (of_this(&self.only), of_this(&self.without));
            let keeps = |part: &str| {
                let chosen = only.is_empty() || only.contains(&None) || only.contains(&Some(part));
                chosen && !without.contains(&Some(part))
            };
            kept.insert(name, parts(value, &keeps));
        }
        kept.into()
    }
}

fn parts(value: Value, keeps: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::Object(parts) => parts.into_iter().filter(|(part, _)| keeps(part)).collect::<Map<_, _>>().into(),
        Value::Array(all) => all.into_iter().map(|one| parts(one, keeps)).collect(),
        other => other,
    }
}
