//! What of a list is asked for (RFC 7644, section 3.4.2).

use serde_json::{Map, Value};

use super::PAGE_MAX;
use super::error::ScimError;
use super::filter::{self, Filter};
use super::schema::Resource;
use super::select::Selection;
use super::user::get;

/// Resources in a page, where nothing else is said.
const PAGE: u32 = 100;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) filter: Option<Filter>,
    /// So many are left out at the beginning.
    pub(crate) skip: u64,
    pub(crate) count: u32,
    pub(crate) selection: Selection,
}

impl Query {
    /// Reads the query of a URL. A parameter that stands twice is refused.
    pub(crate) fn read(resource: &Resource, query: &str) -> Result<Self, ScimError> {
        let mut given: Map<String, Value> = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if given.insert(name.to_string(), value.to_string().into()).is_some() {
                return Err(ScimError::InvalidValue(format!("{name:.40} is there twice")));
            }
        }
        Self::of(resource, &given)
    }

    /// Reads a posted search (RFC 7644, section 3.4.3).
    pub(crate) fn posted(resource: &Resource, body: &Map<String, Value>) -> Result<Self, ScimError> {
        let joined = |value: &Value| match value {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",").into(),
            other => other.clone(),
        };
        Self::of(resource, &body.iter().map(|(name, value)| (name.clone(), joined(value))).collect())
    }

    fn of(resource: &Resource, given: &Map<String, Value>) -> Result<Self, ScimError> {
        let text = |name: &str| get(given, name).and_then(Value::as_str);
        let number = |name: &str| match get(given, name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_i64()),
            Some(Value::String(text)) => text.trim().parse::<i64>().map(Some).map_err(|_| not_a_number(name)),
            Some(_) => Err(not_a_number(name)),
        };
        let filter = text("filter").filter(|filter| !filter.trim().is_empty());
        let filter = filter.map(|text| filter::parse(text, resource)).transpose().map_err(ScimError::InvalidFilter)?;
        // Less than 1 is 1, a negative count is 0 (RFC 7644, section 3.4.2.4).
        let start = number("startIndex")?.unwrap_or(1).max(1);
        let count = number("count")?.map_or(PAGE, |count| u32::try_from(count.max(0)).unwrap_or(PAGE_MAX));
        Ok(Self {
            filter,
            skip: u64::try_from(start - 1).unwrap_or(0),
            count: count.min(PAGE_MAX),
            selection: Selection::read(resource, text("attributes"), text("excludedAttributes")),
        })
    }
}

fn not_a_number(name: &str) -> ScimError {
    ScimError::InvalidValue(format!("{name} is a number"))
}
