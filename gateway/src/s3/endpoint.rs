//! What a listener serves: the protocol library, and before it the requests that it has no operation for.
//!
//! These are preflights, which OPTIONS asks for, and forms. Answers to pages of other origins get their headers here,
//! whoever gave the answer.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use s3s::dto::Range;
use s3s::host::S3Host;
use s3s::service::S3Service;
use s3s::{Body, HttpError, S3Error, S3Response};

use super::S3Gateway;
use super::cors::CrossOrigin;
use super::document::{self, Refused};
use super::hosts::VirtualHosts;
use super::post;
use super::version_order;

/// The S3 service as a listener serves it. Clones share everything.
#[derive(Clone)]
pub struct Endpoint {
    protocol: S3Service,
    gateway: S3Gateway,
    hosts: Arc<VirtualHosts>,
}

/// The bucket and key that a request names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub bucket: String,
    /// As it was sent; empty when the request names the bucket alone.
    pub key: String,
    /// The bucket is part of the host's name, not of the path.
    in_host: bool,
}

/// The status of an answer, where it is another than the protocol library's for the operation. The operation leaves it
/// with its answer.
#[derive(Debug, Clone, Copy)]
struct AnswerStatus(StatusCode);

/// An operation's answer with a status of its own.
pub(super) fn answer<T>(output: T, status: StatusCode) -> S3Response<T> {
    let mut response = S3Response::new(output);
    response.extensions.insert(AnswerStatus(status));
    response
}

impl Place {
    /// The path of an object in the same bucket, named as this one is.
    pub fn object_uri(&self, key: &str) -> String {
        let key = encode_path(key);
        if self.in_host { format!("/{key}") } else { format!("/{}/{key}", encode_path(&self.bucket)) }
    }
}

impl Endpoint {
    pub(super) fn new(protocol: S3Service, gateway: S3Gateway, hosts: VirtualHosts) -> Self {
        Self { protocol, gateway, hosts: Arc::new(hosts) }
    }

    pub(super) fn protocol(&self) -> &S3Service {
        &self.protocol
    }

    pub(super) fn gateway(&self) -> &S3Gateway {
        &self.gateway
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Only when no answer can be given.
    pub async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, HttpError> {
        ignore_unreadable_range(&mut request);
        if *request.method() == Method::OPTIONS {
            return Ok(self.preflight(&request).await);
        }
        let cross_origin = CrossOrigin::of(self, &request);
        let mut response = if post::is_form(request.method(), request.headers()) {
            Box::pin(self.post_object(request)).await?
        } else {
            self.operate(request).await?
        };
        if let Some(asked) = cross_origin {
            self.tell_page(&asked, response.headers_mut()).await;
        }
        Ok(response)
    }

    async fn operate(&self, mut request: Request<Body>) -> Result<Response<Body>, HttpError> {
        let names_key =
            self.place(request.headers(), request.uri()).is_some_and(|place| !place.key.is_empty());
        let refused = document::check(&mut request, names_key);
        let mut response = self.protocol.call(request).await?;
        if let Some(AnswerStatus(status)) = response.extensions().get().copied() {
            *response.status_mut() = status;
        }
        let refused = refused.and_then(Refused::into_error);
        Ok(refused.map_or_else(|| version_order::restore(response), refusal))
    }

    /// Where a request points; `None` when it names no bucket.
    pub(super) fn place(&self, headers: &HeaderMap, uri: &Uri) -> Option<Place> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default();
        let path = uri.path().strip_prefix('/').unwrap_or_default();
        if let Ok(host) = self.hosts.parse_host_header(host)
            && let Some(bucket) = host.bucket()
        {
            return Some(Place { bucket: bucket.to_owned(), key: path.to_owned(), in_host: true });
        }
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let bucket = percent_encoding::percent_decode_str(bucket).decode_utf8().ok()?.into_owned();
        (!bucket.is_empty()).then(|| Place { bucket, key: key.to_owned(), in_host: false })
    }
}

/// What is no single range of bytes asks for everything, as RFC 9110 (14.2) and S3 have it; the protocol library refuses
/// it. Where it was signed it has to stay: most SDKs sign all headers, browsers with a link none.
fn ignore_unreadable_range(request: &mut Request<Body>) {
    let Some(range) = request.headers().get(RANGE) else { return };
    let is_readable = range.to_str().is_ok_and(|range| Range::parse(range).is_ok());
    let may_be_signed = request.headers().contains_key(AUTHORIZATION)
        || request.uri().query().is_some_and(|query| query.contains("range"));
    if !is_readable && !may_be_signed {
        request.headers_mut().remove(RANGE);
    }
}

/// A key as part of a path: all is escaped that is neither unreserved nor a slash.
pub(super) fn encode_path(key: &str) -> String {
    const ESCAPED: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
    percent_encoding::utf8_percent_encode(key, &ESCAPED).to_string()
}

/// The answer that an error is.
pub(super) fn refusal(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_part_of_a_path() {
        for key in ["a/b c", "ä%2F+", "..//x", "?a=b&c#d", "\u{1f980}"] {
            let path = encode_path(key);
            assert!(format!("/b/{path}").parse::<Uri>().is_ok(), "{path}");
            let decoded = percent_encoding::percent_decode_str(&path).decode_utf8().unwrap();
            assert_eq!(decoded, key);
        }
        let place = |in_host| Place { bucket: "b".into(), key: String::new(), in_host };
        assert_eq!(place(true).object_uri("x y"), "/x%20y");
        assert_eq!(place(false).object_uri("/x"), "/b//x");
    }
}
