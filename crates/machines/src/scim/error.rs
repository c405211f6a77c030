//! What SCIM calls an error (RFC 7644, section 3.12).

use http::{Response, StatusCode};
use serde_json::json;
use stepgate_core::flows::ProvisionError;
use stepgate_core::ports::StoreError;
use stepgate_core::web::LocalBody;

use super::CONTENT_TYPE;
use crate::answer;
use crate::caller::NotHeard;

pub(crate) const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// Why a request of SCIM did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScimError {
    #[error("the filter cannot be read: {0}")]
    InvalidFilter(String),
    #[error("too many would have to be looked at: {0}")]
    TooMany(String),
    #[error("the name, or the identity at the provider, is somebody else's")]
    Uniqueness,
    #[error("{0} cannot be changed")]
    Mutability(String),
    #[error("the body cannot be read: {0}")]
    InvalidSyntax(String),
    #[error("the path is none: {0}")]
    InvalidPath(String),
    #[error("nothing is there for the path {0}")]
    NoTarget(String),
    #[error("{0}")]
    InvalidValue(String),
    #[error("there is no such resource")]
    NotFound,
    #[error("there is no such method here")]
    Method,
    #[error("it is not as the request says that it is: read it again")]
    Precondition,
    #[error("it changed in the meantime: try again")]
    Changed,
    #[error("the content type is application/scim+json")]
    MediaType,
    #[error("the identity provider that people are linked to is not configured")]
    NoProvider,
    #[error("this is not supported")]
    NotImplemented,
    #[error("the body is larger than is read")]
    TooLarge,
    #[error("they are blocked at the gate by hand, which its administrators lift before they are removed")]
    Blocked,
    #[error(transparent)]
    NotHeard(#[from] NotHeard),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ProvisionError> for ScimError {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Taken => Self::Uniqueness,
            // Reading names the attribute; what is refused later would be a name that was put together.
            ProvisionError::Unfit(error) => Self::InvalidValue(error.to_string()),
            ProvisionError::NoProvider => Self::NoProvider,
            ProvisionError::Blocked => Self::Blocked,
            ProvisionError::Changed => Self::Changed,
            ProvisionError::Limit(what) => Self::InvalidValue(format!("a limit is reached: {what}")),
            ProvisionError::Store(error) => Self::Store(error),
        }
    }
}

impl ScimError {
    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidFilter(_)
            | Self::TooMany(_)
            | Self::Mutability(_)
            | Self::InvalidSyntax(_)
            | Self::InvalidPath(_)
            | Self::NoTarget(_)
            | Self::InvalidValue(_) => StatusCode::BAD_REQUEST,
            Self::Uniqueness | Self::Changed => StatusCode::CONFLICT,
            Self::Blocked => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotHeard(error) => error.status(),
            Self::Store(_) | Self::NoProvider => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// RFC 7644, table 9.
    const fn kind(&self) -> Option<&'static str> {
        match self {
            Self::InvalidFilter(_) => Some("invalidFilter"),
            Self::TooMany(_) => Some("tooMany"),
            Self::Uniqueness => Some("uniqueness"),
            Self::Mutability(_) => Some("mutability"),
            Self::InvalidSyntax(_) => Some("invalidSyntax"),
            Self::InvalidPath(_) => Some("invalidPath"),
            Self::NoTarget(_) => Some("noTarget"),
            Self::InvalidValue(_) => Some("invalidValue"),
            _ => None,
        }
    }

    pub(crate) fn answer(&self) -> Response<LocalBody> {
        let status = self.status();
        let mut body = json!({ "schemas": [SCHEMA], "status": status.as_u16().to_string() });
        let detail = match self {
            // What the store says is for the operator.
            Self::Store(error) | Self::NotHeard(NotHeard::Store(error)) => {
                tracing::error!(error = error as &dyn std::error::Error, "provisioning failed at the store");
                "the store does not answer".to_owned()
            }
            error => error.to_string(),
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("detail".to_owned(), detail.into());
            if let Some(kind) = self.kind() {
                body.insert("scimType".to_owned(), kind.into());
            }
        }
        let mut response = answer::json(status, CONTENT_TYPE, &body);
        if let Self::NotHeard(error) = self {
            error.challenge(&mut response);
        }
        response
    }
}
