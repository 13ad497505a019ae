//! Errors of the admin interface: `{"error": {"code": ..., "message": ...}}`.

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
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
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
            tracing::error!(error = %datamesh_node::one_line(source.as_ref()), "an admin request failed");
        }
        let (status, code) = self.status();
        let body = Json(json!({ "error": { "code": code, "message": self.to_string() } }));
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
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
pub(super) async fn not_found() -> ApiError {
    ApiError::NotFound { message: "there is no such path".to_owned() }
}

/// The answer to a path that doesn't have this method.
pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Reads the parameters of a query.
pub(super) fn parse_query<T: serde::de::DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let invalid = |error: QueryRejection| ApiError::Invalid { message: error.body_text() };
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).map_err(invalid)
}

/// Reads a JSON body. An empty one stands for `{}`.
pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::Invalid { message: error.to_string() })
}
