//! What a form is answered with once its file is stored.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, HeaderValue, LOCATION};
use http::request::Parts;
use http::{Response, StatusCode};
use s3s::Body;
use url::Url;

use super::Form;
use crate::http::RequestTrace;
use crate::s3::endpoint::encode_path;

/// The answer that a form asks for.
pub(super) struct Wanted {
    redirect: Option<Url>,
    status: StatusCode,
    bucket: String,
    key: String,
    /// Where the object is.
    location: String,
}

impl Wanted {
    /// What is not understood counts as not said.
    pub fn new(form: &Form, head: &Parts, bucket: &str, key: String) -> Self {
        let redirect = form.field("success_action_redirect").or_else(|| form.field("redirect"));
        let redirect = redirect.and_then(|url| Url::parse(url).ok());
        let status = match form.field("success_action_status") {
            Some("200") => StatusCode::OK,
            Some("201") => StatusCode::CREATED,
            _ => StatusCode::NO_CONTENT,
        };
        let encrypted =
            head.extensions.get::<Arc<RequestTrace>>().is_some_and(|trace| trace.peer().encrypted);
        let scheme = if encrypted { "https" } else { "http" };
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = head.uri.path().trim_end_matches('/');
        Self {
            redirect: redirect.filter(|url| matches!(url.scheme(), "http" | "https")),
            status,
            bucket: bucket.to_owned(),
            location: format!("{scheme}://{host}{path}/{}", encode_path(&key)),
            key,
        }
    }

    /// Turns the answer to the PUT into the form's.
    pub fn answer(self, stored: Response<Body>) -> Response<Body> {
        let (mut head, _) = stored.into_parts();
        let etag = head.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(CONTENT_TYPE);
        head.status = self.status;
        if let Some(mut redirect) = self.redirect {
            redirect
                .query_pairs_mut()
                .append_pair("bucket", &self.bucket)
                .append_pair("key", &self.key)
                .append_pair("etag", &etag);
            head.status = StatusCode::SEE_OTHER;
            if let Ok(location) = HeaderValue::from_str(redirect.as_str()) {
                head.headers.insert(LOCATION, location);
            }
            return Response::from_parts(head, Body::empty());
        }
        if let Ok(location) = HeaderValue::from_str(&self.location) {
            head.headers.insert(LOCATION, location);
        }
        if self.status != StatusCode::CREATED {
            return Response::from_parts(head, Body::empty());
        }
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location><Bucket>{}</Bucket>\
             <Key>{}</Key><ETag>{}</ETag></PostResponse>",
            escape(&self.location),
            escape(&self.bucket),
            escape(&self.key),
            escape(&etag)
        );
        Response::from_parts(head, Body::from(document))
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
