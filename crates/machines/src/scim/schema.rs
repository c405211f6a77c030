//! The resources that are spoken of here, and what they have: one table for what is
//! filtered by, changed by paths, and told at `/Schemas` (RFC 7643, sections 4, 6 and 7).

use serde_json::{Value, json};

use super::filter::Path;

/// How values of an attribute are written and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text in which case does not matter.
    Text,
    /// A text in which it does.
    ExactText,
    Bool,
    Time,
    /// The address of another resource of this kind.
    Reference(&'static str),
    Complex,
}

/// Who may change an attribute (RFC 7643, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutability {
    ReadOnly,
    ReadWrite,
}

/// An attribute or a part of one.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) several: bool,
    pub(crate) required: bool,
    pub(crate) mutability: Mutability,
    pub(crate) unique: bool,
    pub(crate) about: &'static str,
    pub(crate) parts: &'static [Attribute],
}

impl Attribute {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            several: false,
            required: false,
            mutability: Mutability::ReadWrite,
            unique: false,
            about,
            parts: &[],
        }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }

    const fn with(self, parts: &'static [Self]) -> Self {
        Self { parts, ..self }
    }

    const fn several(self) -> Self {
        Self { several: true, ..self }
    }

    /// A part by its name, in any case.
    pub(crate) fn part(&'static self, name: &str) -> Option<&'static Self> {
        self.parts.iter().find(|part| part.name.eq_ignore_ascii_case(name))
    }

    fn told(&self) -> Value {
        let mut told = json!({
            "name": self.name,
            "type": match self.kind {
                Kind::Text | Kind::ExactText => "string",
                Kind::Bool => "boolean",
                Kind::Time => "dateTime",
                Kind::Reference(_) => "reference",
                Kind::Complex => "complex",
            },
            "multiValued": self.several,
            "description": self.about,
            "required": self.required,
            "mutability": match self.mutability {
                Mutability::ReadOnly => "readOnly",
                Mutability::ReadWrite => "readWrite",
            },
            "returned": "default",
        });
        if let Some(told) = told.as_object_mut() {
            if matches!(self.kind, Kind::Text | Kind::ExactText) {
                told.insert("caseExact".to_owned(), (self.kind == Kind::ExactText).into());
                told.insert("uniqueness".to_owned(), if self.unique { "server" } else { "none" }.into());
            }
            if let Kind::Reference(kind) = self.kind {
                told.insert("referenceTypes".to_owned(), json!([kind]));
                told.insert("caseExact".to_owned(), true.into());
            }
            if !self.parts.is_empty() {
                let parts = self.parts.iter().map(Self::told).collect::<Vec<_>>();
                told.insert("subAttributes".to_owned(), parts.into());
            }
        }
        told
    }
}

/// A kind of resource.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) name: &'static str,
    pub(crate) endpoint: &'static str,
    pub(crate) schema: &'static str,
    pub(crate) about: &'static str,
    pub(crate) attributes: &'static [Attribute],
}

/// What every resource has (RFC 7643, section 3.1). Not part of its schema.
const COMMON: [Attribute; 3] = [
    Attribute::new("id", Kind::ExactText, "Given by the gate").read_only(),
    Attribute::new("externalId", Kind::ExactText, "What the other system calls it"),
    Attribute::new("meta", Kind::Complex, "When it was added and changed").read_only().with(&[
        Attribute::new("resourceType", Kind::ExactText, "User or Group").read_only(),
        Attribute::new("created", Kind::Time, "When it was added").read_only(),
        Attribute::new("lastModified", Kind::Time, "When it was changed last").read_only(),
        Attribute::new("version", Kind::ExactText, "As ETag has it").read_only(),
    ]),
];
static COMMON_TABLE: &[Attribute] = &COMMON;

pub(crate) static USER: Resource = Resource {
    name: "User",
    endpoint: "/Users",
    schema: "urn:ietf:params:scim:schemas:core:2.0:User",
    about: "A person",
    attributes: &[
        Attribute::new("userName", Kind::Text, "What the person signs in with, in lower case").required().unique(),
        Attribute::new("name", Kind::Complex, "The parts of the person's name").with(&[
            Attribute::new("givenName", Kind::Text, "Given name"),
            Attribute::new("familyName", Kind::Text, "Family name"),
        ]),
        Attribute::new("displayName", Kind::Text, "What the person is called on pages"),
        Attribute::new("active", Kind::Bool, "Whether the person may sign in"),
        Attribute::new("emails", Kind::Complex, "The person's address; of several, the primary one is kept")
            .several()
            .with(&[
                Attribute::new("value", Kind::Text, "The address"),
                Attribute::new("type", Kind::Text, "Always work").read_only(),
                Attribute::new("primary", Kind::Bool, "Always true").read_only(),
            ]),
        Attribute::new("groups", Kind::Complex, "The provisioned groups that the person is in")
            .several()
            .read_only()
            .with(&[
                Attribute::new("value", Kind::ExactText, "The group's id").read_only(),
                Attribute::new("$ref", Kind::Reference("Group"), "The group's address").read_only(),
                Attribute::new("display", Kind::Text, "The group's name").read_only(),
            ]),
    ],
};

pub(crate) static GROUP: Resource = Resource {
    name: "Group",
    endpoint: "/Groups",
    schema: "urn:ietf:params:scim:schemas:core:2.0:Group",
    about: "A group, by whose name policies know it",
    attributes: &[
        Attribute::new("displayName", Kind::Text, "The name of the group in policies").required().unique(),
        Attribute::new("members", Kind::Complex, "The people who are in it").several().with(&[
            Attribute::new("value", Kind::ExactText, "The person's id"),
            Attribute::new("$ref", Kind::Reference("User"), "The person's address"),
            Attribute::new("display", Kind::Text, "What the person is called").read_only(),
        ]),
    ],
};

/// Attributes of RFC 7643 that nothing is done with here. What another system says of them is
/// passed over, so that a mapping which sends them need not be changed.
const PASSED_OVER: [&str; 21] = [
    "nickName",
    "profileUrl",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "password",
    "phoneNumbers",
    "ims",
    "photos",
    "addresses",
    "entitlements",
    "roles",
    "x509Certificates",
    "employeeNumber",
    "costCenter",
    "organization",
    "division",
    "department",
    "manager",
];
/// Parts of a name of which the same is true.
const NAME_PARTS_PASSED_OVER: [&str; 4] = ["formatted", "middleName", "honorificPrefix", "honorificSuffix"];
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// The text after this schema and a colon.
fn after_schema<'t>(text: &'t str, schema: &str) -> Option<&'t str> {
    let start = text.get(..schema.len())?;
    if !start.eq_ignore_ascii_case(schema) {
        return None;
    }
    text.get(schema.len()..)?.strip_prefix(':')
}

impl Resource {
    /// An attribute by its name, in any case.
    pub(crate) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().chain(COMMON_TABLE).find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }

    /// `attribute`, `attribute.part`, with or without the schema before it; and the attribute, if it
    /// has parts and none is named.
    pub(crate) fn path(&self, text: &str) -> Option<(Path, Option<&'static Attribute>)> {
        let text = after_schema(text, self.schema).unwrap_or(text);
        let (name, part) = match text.split_once('.') {
            None => (text, None),
            Some((name, part)) => (name, Some(part)),
        };
        let attribute = self.attribute(name)?;
        match part {
            None => {
                let path = Path { attribute: attribute.name, part: None, kind: attribute.kind };
                Some((path, (!attribute.parts.is_empty()).then_some(attribute)))
            }
            Some(part) => {
                let part = attribute.part(part)?;
                Some((Path { attribute: attribute.name, part: Some(part.name), kind: part.kind }, None))
            }
        }
    }

    /// Whether a path names something that is passed over.
    pub(crate) fn is_passed_over(&self, text: &str) -> bool {
        if after_schema(text, ENTERPRISE).is_some() || text.eq_ignore_ascii_case(ENTERPRISE) {
            return true;
        }
        let text = after_schema(text, self.schema).unwrap_or(text);
        let name = text.split(['.', '[']).next().unwrap_or_default();
        if let Some(part) = text.strip_prefix("name.") {
            return NAME_PARTS_PASSED_OVER.iter().any(|known| known.eq_ignore_ascii_case(part));
        }
        PASSED_OVER.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The schema as `/Schemas` tells it.
    pub(crate) fn told(&self, base: &str) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.schema,
            "name": self.name,
            "description": self.about,
            "attributes": self.attributes.iter().map(Attribute::told).collect::<Vec<_>>(),
            "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{}", self.schema) },
        })
    }

    /// The kind as `/ResourceTypes` tells it.
    pub(crate) fn told_as_type(&self, base: &str) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.name,
            "name": self.name,
            "endpoint": self.endpoint,
            "description": self.about,
            "schema": self.schema,
            "meta": { "resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{}", self.name) },
        })
    }
}

/// What the service can do (RFC 7643, section 5).
pub(crate) fn service_provider(base: &str, body_max: usize) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": body_max },
        "filter": { "supported": true, "maxResults": super::PAGE_MAX },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": true },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "A token made by `stepgate machines add`",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": { "resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig") },
    })
}
