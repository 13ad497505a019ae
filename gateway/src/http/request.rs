//! One request: its id, its permit, its answer's common headers, its line in the log and its metrics.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datamesh_accounts::{Admission, Direction};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, RETRY_AFTER, SERVER,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{RequestBody, ResponseBody};
use super::counters::Counters;
use super::pacing::Pacing;
use super::server::HttpConfig;
use super::trace::{Peer, RequestTrace};
use crate::s3::Endpoint;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// On every answer while an owner is at 80 % of a limit or more: `account bytes 95%: 960 of 1000`.
const QUOTA_WARNING: HeaderName = HeaderName::from_static("x-datamesh-quota-warning");
/// The parameter of a presigned URL that says for how long it is valid, in seconds.
const EXPIRES: &str = "X-Amz-Expires";
/// A week.
const LIFETIME_SECONDS_MAX: i64 = 7 * 24 * 3600;
/// The longest document (XML) of a request, in bytes.
pub(crate) const DOCUMENT_LEN_MAX: u64 = 1 << 20;

/// What answers the requests of a listener.
#[async_trait]
pub trait Respond: Send + Sync + 'static {
    /// Answers one request.
    async fn respond(&self, request: Request<s3s::Body>) -> Result<Response<s3s::Body>, s3s::HttpError>;
}

#[async_trait]
impl Respond for Endpoint {
    async fn respond(&self, request: Request<s3s::Body>) -> Result<Response<s3s::Body>, s3s::HttpError> {
        self.call(request).await
    }
}

/// What all connections share.
pub(super) struct RequestHandler {
    service: Box<dyn Respond>,
    permits: Arc<Semaphore>,
    body_idle_timeout: Duration,
    next_id: AtomicU64,
    counters: Counters,
}

impl RequestHandler {
    pub(super) fn new(service: impl Respond, config: &HttpConfig) -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Self {
            service: Box::new(service),
            permits: Arc::new(Semaphore::new(config.requests_max)),
            body_idle_timeout: config.body_idle_timeout,
            next_id: AtomicU64::new(seed),
            counters: Counters::default(),
        }
    }

    /// Unique in this process, and unlike those of another: the splitmix64 sequence from a random seed.
    fn request_id(&self) -> String {
        let mut x = self.next_id.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        format!("{:016X}", x ^ (x >> 31))
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<ResponseBody>, s3s::HttpError> {
        let start = Instant::now();
        let held_back = request.headers().contains_key(EXPECT);
        let trace = Arc::new(RequestTrace::new(self.request_id(), held_back, peer));
        let method = request.method().clone();
        let resource = request.uri().path().to_owned();
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = match (permit, refusal_of(&request)) {
            (Ok(permit), None) => permit,
            (_, refusal) => {
                let refusal = refusal.unwrap_or_else(slow_down);
                let response = self.finish(refusal, &trace, (&method, &resource), start);
                return Ok(response.map(|inner| answer_body(inner, trace, None)));
            }
        };
        let mut request = request.map(|body| self.guard(body, &trace));
        request.extensions_mut().insert(Arc::clone(&trace));
        let declared = http_body::Body::size_hint(request.body()).lower();
        let mut response = self.service.respond(request).await?;
        // The protocol library takes a document that cannot be read for a fault of its own.
        let is_unreadable =
            trace.is_input_awaited() && response.status() == StatusCode::INTERNAL_SERVER_ERROR;
        if is_unreadable {
            response = if declared > DOCUMENT_LEN_MAX { too_long() } else { unreadable() };
        }
        let response = self.finish(response, &trace, (&method, &resource), start);
        Ok(response.map(|inner| answer_body(inner, trace, Some(permit))))
    }

    fn guard(&self, body: Incoming, trace: &Arc<RequestTrace>) -> s3s::Body {
        if http_body::Body::is_end_stream(&body) {
            return s3s::Body::empty();
        }
        s3s::Body::http_body(RequestBody::new(body, self.body_idle_timeout, Arc::clone(trace)))
    }

    /// Adds what every answer carries, then counts and logs it.
    fn finish(
        &self,
        mut response: Response<s3s::Body>,
        trace: &RequestTrace,
        (method, resource): (&Method, &str),
        start: Instant,
    ) -> Response<s3s::Body> {
        let status = response.status();
        trace.answered(&response);
        if status.is_client_error() || status.is_server_error() {
            response = name_resource(response, resource, trace.id());
        }
        let headers = response.headers_mut();
        let id = HeaderValue::from_str(trace.id()).expect("a request id is hexadecimal digits");
        headers.insert(REQUEST_ID, id);
        headers.insert(SERVER, HeaderValue::from_static("DataMesh"));
        for warning in trace.admission().map(Admission::warnings).unwrap_or_default() {
            if let Ok(warning) = HeaderValue::from_str(&warning.to_string()) {
                headers.append(QUOTA_WARNING, warning);
            }
        }
        if trace.is_body_held_back() {
            // Whether the client still sends the body is its own choice: what follows on the connection can't be told.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let seconds = start.elapsed().as_secs_f64();
        self.counters.count(trace.operation(), status.as_u16(), seconds);
        let cause = trace.cause();
        // A client that is told to slow down is no fault, and there may be many of them.
        let is_fault = status.is_server_error() && !response.headers().contains_key(RETRY_AFTER);
        if is_fault {
            // What does not exist here is not out of order.
            if let Some(admission) = trace.admission().filter(|_| status != StatusCode::NOT_IMPLEMENTED) {
                admission.failed();
            }
            tracing::error!(
                request_id = trace.id(),
                operation = trace.operation(),
                %method, resource, status = status.as_u16(), seconds, cause,
                "request failed"
            );
        } else {
            tracing::debug!(
                request_id = trace.id(),
                operation = trace.operation(),
                %method, resource, status = status.as_u16(), seconds, cause,
                "request answered"
            );
        }
        response
    }
}

fn answer_body(
    inner: s3s::Body,
    trace: Arc<RequestTrace>,
    permit: Option<OwnedSemaphorePermit>,
) -> ResponseBody {
    let pacing = Pacing::new(Arc::clone(&trace), Direction::Sent);
    ResponseBody { inner, trace, pacing, permit }
}

fn slow_down() -> Response<s3s::Body> {
    let message = "Please reduce your request rate.";
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The answer to a request that can be refused by its head alone.
fn refusal_of(request: &Request<Incoming>) -> Option<Response<s3s::Body>> {
    if is_too_long(request) {
        return Some(too_long());
    }
    let query = request.uri().query().filter(|query| query.contains(EXPIRES))?;
    is_outside_its_time(query).then(|| {
        let message = "X-Amz-Expires must be at least a second and at most a week.";
        refusal(StatusCode::FORBIDDEN, "AccessDenied", message)
    })
}

/// Whether a presigned URL was never valid, or would be for too long: the protocol library answers 400.
fn is_outside_its_time(query: &str) -> bool {
    let mut lifetimes = query.split('&').filter_map(|pair| pair.strip_prefix(EXPIRES)?.strip_prefix('='));
    lifetimes.any(|lifetime| {
        lifetime.parse().is_ok_and(|seconds: i64| !(1..=LIFETIME_SECONDS_MAX).contains(&seconds))
    })
}

/// Whether the request's document is over the limit. All bodies of POST are documents, but for forms.
///
/// The protocol library has the same limit, but answers 500 when a request exceeds it.
fn is_too_long(request: &Request<Incoming>) -> bool {
    const FORM: &[u8] = b"multipart/form-data";
    let declared = http_body::Body::size_hint(request.body()).lower();
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_form =
        content_type.get(..FORM.len()).is_some_and(|content_type| content_type.eq_ignore_ascii_case(FORM));
    *request.method() == Method::POST && declared > DOCUMENT_LEN_MAX && !is_form
}

fn too_long() -> Response<s3s::Body> {
    refusal(StatusCode::BAD_REQUEST, "MaxMessageLengthExceeded", "Your request was too large.")
}

fn unreadable() -> Response<s3s::Body> {
    let message = "The request's document could not be read whole, or is not the one that was signed.";
    refusal(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response<s3s::Body> {
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(s3s::Body::from(document));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Completes S3's error document, which the protocol library leaves without these two fields.
fn name_resource(response: Response<s3s::Body>, resource: &str, id: &str) -> Response<s3s::Body> {
    const END: &[u8] = b"</Error>";
    let (mut parts, mut body) = response.into_parts();
    let Some(document) = body.bytes().filter(|document| document.ends_with(END)) else {
        return Response::from_parts(parts, body);
    };
    let mut named = Vec::with_capacity(document.len() + resource.len() + 96);
    named.extend_from_slice(&document[..document.len() - END.len()]);
    named.extend_from_slice(b"<Resource>");
    escape(resource, &mut named);
    named.extend_from_slice(b"</Resource><RequestId>");
    named.extend_from_slice(id.as_bytes());
    named.extend_from_slice(b"</RequestId></Error>");
    if parts.headers.contains_key(CONTENT_LENGTH) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(named.len()));
    }
    body = s3s::Body::from(named);
    Response::from_parts(parts, body)
}

/// A request's path is still percent-encoded, so only what ASCII itself makes special is left to escape.
fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            byte => out.push(byte),
        }
    }
}

/// The handler as hyper wants it, one per connection.
pub(super) struct RequestService {
    pub handler: Arc<RequestHandler>,
    pub peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for RequestService {
    type Response = Response<ResponseBody>;
    type Error = s3s::HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (handler, peer) = (Arc::clone(&self.handler), self.peer);
        Box::pin(async move { handler.handle(request, peer).await })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn error_response(document: &'static str) -> Response<s3s::Body> {
        Response::new(s3s::Body::from(Bytes::from_static(document.as_bytes())))
    }

    #[test]
    fn an_error_document_names_the_resource_and_the_request() {
        let named = name_resource(error_response("<Error><Code>X</Code></Error>"), "/b/a&b<c", "1F");
        let document = named.into_body().bytes().unwrap();
        let expected = "<Error><Code>X</Code><Resource>/b/a&amp;b&lt;c</Resource>\
                        <RequestId>1F</RequestId></Error>";
        assert_eq!(document, expected);
    }

    #[test]
    fn a_presigned_url_lives_between_a_second_and_a_week() {
        for (query, refused) in [
            ("X-Amz-Expires=1", false),
            ("a=b&X-Amz-Expires=604800&c=d", false),
            ("X-Amz-Expires=604801", true),
            ("X-Amz-Expires=0", true),
            ("a=b&X-Amz-Expires=-7", true),
            ("x=X-Amz-Expires=0", false),
        ] {
            assert_eq!(is_outside_its_time(query), refused, "{query}");
        }
    }

    #[test]
    fn a_body_that_is_no_error_document_stays_as_it_is() {
        let named = name_resource(error_response("plain"), "/b", "1F");
        assert_eq!(named.into_body().bytes().unwrap(), "plain");
    }
}
