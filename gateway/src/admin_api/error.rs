//! Errors of the REST interfaces: `{"error": {"code": ..., "message": ...}}`.

use std::time::Duration;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use datamesh_catalog::CatalogError;
use datamesh_cluster::ClusterError;
use serde_json::json;

use crate::jobs::JobError;

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The token is missing or wrong.
    #[error("the bearer token is missing or wrong")]
    Unauthorized,
    /// Who somebody is was not proven.
    #[error("{message}")]
    Unproven {
        /// What is missing.
        message: String,
    },
    /// Somebody asks too often.
    #[error("too many requests: try again in {} s", retry_after.as_secs() + 1)]
    TooMany {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The token's role does not allow it.
    #[error("the token's role does not allow this")]
    Forbidden,
    /// The body is too large.
    #[error("the body is too large: expected at most {} bytes", super::BODY_LEN_MAX)]
    TooLarge,
    /// The request makes no sense.
    #[error("{message}")]
    Invalid {
        /// What is wrong and what was expected.
        message: String,
    },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// What.
        message: String,
    },
    /// The path exists, but not with this method.
    #[error("the method is not allowed here")]
    MethodNotAllowed,
    /// It contradicts what is there.
    #[error("{message}")]
    Conflict {
        /// What.
        message: String,
    },
    /// The gateway failed; `source` goes to the log only.
    #[error("the gateway failed; its log says why")]
    Internal {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ApiError {
    /// An [`ApiError::Internal`].
    pub fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal { source: Box::new(source) }
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized | Self::Unproven { .. } => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            Self::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal { source } = &self {
            tracing::error!(error = %datamesh_node::one_line(source.as_ref()), "a request failed");
        }
        let (status, code) = self.status();
        let body = Json(json!({ "error": { "code": code, "message": self.to_string() } }));
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        if let Self::TooMany { retry_after } = &self {
            let seconds = axum::http::HeaderValue::from(retry_after.as_secs() + 1);
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Elsewhere | JobError::NoTarget { .. } => Self::Conflict { message: error.to_string() },
            JobError::NoInventory { .. } => Self::NotFound { message: error.to_string() },
            JobError::NoMesh => Self::Invalid { message: error.to_string() },
            other => Self::internal(other),
        }
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        Self::internal(error)
    }
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        Self::internal(error)
    }
}

/// The answer to a path that doesn't exist.
pub(crate) async fn not_found() -> ApiError {
    ApiError::NotFound { message: "there is no such path".to_owned() }
}

/// The answer to a path that doesn't have this method.
pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Reads the parameters of a query.
pub(crate) fn parse_query<T: serde::de::DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let invalid = |error: QueryRejection| ApiError::Invalid { message: error.body_text() };
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).map_err(invalid)
}

/// Reads a JSON body. An empty one stands for `{}`.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::Invalid { message: error.to_string() })
}
