//! REST behind a listener of [`crate::http`], whose limits strangers are under.

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use http::{Request, Response};
use tower::ServiceExt;

use crate::admin_api::{not_allowed, not_found};
use crate::http::Respond;

/// Answers requests by the routes of a router. Cheap to clone.
#[derive(Clone)]
pub struct RestService {
    router: Router,
}

impl RestService {
    /// A service of these routes, whose bodies have at most `body_len_max` bytes. Other paths and methods are answered as
    /// the admin listener does.
    pub fn new<S>(routes: Router<S>, body_len_max: usize, state: S) -> Self
    where
        S: Clone + Send + Sync + 'static,
    {
        let limited = routes
            .fallback(not_found)
            .method_not_allowed_fallback(not_allowed)
            .layer(DefaultBodyLimit::max(body_len_max));
        Self { router: limited.with_state(state) }
    }
}

#[async_trait]
impl Respond for RestService {
    async fn respond(&self, request: Request<s3s::Body>) -> Result<Response<s3s::Body>, s3s::HttpError> {
        let answered = self.router.clone().oneshot(request.map(Body::new)).await;
        let Ok(response) = answered;
        Ok(response.map(s3s::Body::http_body_unsync))
    }
}
