//! Provisioning: SCIM 2.0 (RFC 7643, RFC 7644).

mod error;
mod filter;
mod fuzz;
mod group;
mod groups;
mod patch;
mod query;
mod schema;
mod select;
mod user;
mod users;

use bytes::Bytes;
use http::header::{CONTENT_TYPE as CONTENT_TYPE_HEADER, ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use stepgate_core::flows::Provisioning;
use stepgate_core::machine::Machine;
use stepgate_core::web::LocalBody;

use crate::answer;
use crate::caller::NotHeard;
use error::ScimError;
pub use fuzz::fuzz;
use query::Query;
use schema::{GROUP, Resource, USER};
use user::version_of;

/// What bodies here are (RFC 7644, section 8.1).
pub(crate) const CONTENT_TYPE: &str = "application/scim+json";
/// The largest body that is read.
pub(crate) const SCIM_BODY_MAX: usize = 2 << 20;
/// The most resources in one page.
pub(crate) const PAGE_MAX: u32 = 200;
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// The service.
#[derive(Debug)]
pub(crate) struct Scim {
    provisioning: Provisioning,
    /// Its address, without a slash at the end.
    base: String,
}

/// Whether the path is provisioning's.
pub(crate) fn serves(path: &str) -> bool {
    path == "/scim/v2" || path.starts_with("/scim/v2/")
}

/// The answer to who is not heard.
pub(crate) fn not_heard(error: NotHeard) -> Response<LocalBody> {
    ScimError::from(error).answer()
}

/// The answer to a body that is too large.
pub(crate) fn too_large() -> Response<LocalBody> {
    ScimError::TooLarge.answer()
}

/// A request whose caller is known.
struct Asked<'r> {
    machine: Machine,
    headers: &'r HeaderMap,
    body: &'r Bytes,
    query: &'r str,
}

type Answer = Result<Response<LocalBody>, ScimError>;

impl Scim {
    pub(crate) fn new(provisioning: Provisioning, base: String) -> Self {
        Self { provisioning, base }
    }

    pub(crate) async fn call(&self, machine: Machine, request: &Request<Bytes>) -> Response<LocalBody> {
        self.answer(machine, request).await.unwrap_or_else(|error| error.answer())
    }

    async fn answer(&self, machine: Machine, request: &Request<Bytes>) -> Answer {
        let asked = Asked {
            machine,
            headers: request.headers(),
            body: request.body(),
            query: request.uri().query().unwrap_or_default(),
        };
        let path = request.uri().path().strip_prefix("/scim/v2").unwrap_or_default();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match (request.method(), segments.as_slice()) {
            (&Method::GET, ["ServiceProviderConfig"]) => Ok(ok(&schema::service_provider(&self.base, SCIM_BODY_MAX))),
            (&Method::GET, ["ResourceTypes"]) => {
                Ok(listed(vec![USER.told_as_type(&self.base), GROUP.told_as_type(&self.base)]))
            }
            (&Method::GET, ["ResourceTypes", name]) => {
                let found = [&USER, &GROUP].into_iter().find(|resource| resource.name == *name);
                Ok(ok(&found.ok_or(ScimError::NotFound)?.told_as_type(&self.base)))
            }
            (&Method::GET, ["Schemas"]) => Ok(listed(vec![USER.told(&self.base), GROUP.told(&self.base)])),
            (&Method::GET, ["Schemas", id]) => {
                let found = [&USER, &GROUP].into_iter().find(|resource| resource.schema.eq_ignore_ascii_case(id));
                Ok(ok(&found.ok_or(ScimError::NotFound)?.told(&self.base)))
            }
            (&Method::GET, ["Users"]) => self.users(&Query::read(&USER, asked.query)?).await,
            (&Method::POST, ["Users", ".search"]) => self.users(&Query::posted(&USER, &object(&asked)?)?).await,
            (&Method::POST, ["Users"]) => self.add_user(&asked).await,
            (method, ["Users", id]) => self.user(method, id, &asked).await,
            (&Method::GET, ["Groups"]) => self.groups(&Query::read(&GROUP, asked.query)?).await,
            (&Method::POST, ["Groups", ".search"]) => self.groups(&Query::posted(&GROUP, &object(&asked)?)?).await,
            (&Method::POST, ["Groups"]) => self.add_group(&asked).await,
            (method, ["Groups", id]) => self.group(method, id, &asked).await,
            // RFC 7644, sections 3.7, 3.11 and 3.4.3: what is not supported is said to be so.
            (_, ["Bulk" | "Me" | ".search", ..]) => Err(ScimError::NotImplemented),
            (_, ["Users" | "Groups" | "Schemas" | "ResourceTypes" | "ServiceProviderConfig"]) => Err(ScimError::Method),
            _ => Err(ScimError::NotFound),
        }
    }
}

/// The body as an object, if it says that it is JSON.
fn object(asked: &Asked<'_>) -> Result<Map<String, Value>, ScimError> {
    let kind = asked.headers.get(CONTENT_TYPE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != CONTENT_TYPE && kind != "application/json" {
        return Err(ScimError::MediaType);
    }
    match serde_json::from_slice(asked.body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(ScimError::InvalidSyntax("it is not an object".to_owned())),
        Err(error) => Err(ScimError::InvalidSyntax(error.to_string())),
    }
}

/// Whether the body is of this kind of resource.
fn is_a(body: &Map<String, Value>, resource: &Resource) -> Result<(), ScimError> {
    let schemas = user::get(body, "schemas").and_then(Value::as_array);
    let is = schemas.is_some_and(|schemas| {
        schemas.iter().filter_map(Value::as_str).any(|schema| schema.eq_ignore_ascii_case(resource.schema))
    });
    if is { Ok(()) } else { Err(ScimError::InvalidSyntax(format!("`schemas` has {}", resource.schema))) }
}

fn ok(body: &Value) -> Response<LocalBody> {
    answer::json(StatusCode::OK, CONTENT_TYPE, body)
}

fn listed(resources: Vec<Value>) -> Response<LocalBody> {
    ok(&json!({
        "schemas": [LIST],
        "totalResults": resources.len(),
        "itemsPerPage": resources.len(),
        "startIndex": 1,
        "Resources": resources,
    }))
}

/// One resource, with its version and address in the head.
fn one(status: StatusCode, version: u32, location: &str, body: &Value) -> Response<LocalBody> {
    let mut response = answer::json(status, CONTENT_TYPE, body);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(version_of(version)) {
        headers.insert(ETAG, value);
    }
    if let Ok(value) = HeaderValue::try_from(location) {
        headers.insert(LOCATION, value);
    }
    response
}

/// Whether `If-Match`, if it is there, allows a change of this version (RFC 7644, section 3.14).
fn may_change(headers: &HeaderMap, version: u32) -> Result<(), ScimError> {
    if headers.contains_key(IF_MATCH) && !names(headers, IF_MATCH, version) {
        return Err(ScimError::Precondition);
    }
    Ok(())
}

/// Whether the reader has this version already.
fn has_it(headers: &HeaderMap, version: u32) -> bool {
    names(headers, IF_NONE_MATCH, version)
}

fn names(headers: &HeaderMap, header: http::HeaderName, version: u32) -> bool {
    let strip = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = strip(&version_of(version));
    let values = headers.get_all(header);
    values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|tag| {
        let tag = strip(tag);
        tag == "*" || tag == wanted
    })
}
