//! Cross-origin requests: a bucket's rules, preflight answers, and the headers on all other answers.
//!
//! A request without `Origin` costs one look at its headers. Preflights carry no signature and need none: they tell
//! what the bucket's rules say, and nothing of its objects.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html>, <https://fetch.spec.whatwg.org/#http-cors-protocol>

mod rules;

use std::sync::Arc;

use datamesh_catalog::ConfigKind;
use datamesh_policy::Action;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Request, Response, StatusCode};
use s3s::dto::{
    DeleteBucketCorsInput, DeleteBucketCorsOutput, GetBucketCorsInput, GetBucketCorsOutput,
    PutBucketCorsInput, PutBucketCorsOutput,
};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;
use super::endpoint::{Endpoint, refusal};
use super::errors;
use crate::http::RequestTrace;
use rules::{CorsRules, Matched};

/// What a browser asks for a page.
pub(super) struct CrossOrigin {
    bucket: String,
    origin: String,
    method: String,
    /// Names in lower case.
    headers: Vec<String>,
}

impl CrossOrigin {
    /// `None` for a request that no page of another origin makes, or that concerns no bucket.
    pub fn of(endpoint: &Endpoint, request: &Request<Body>) -> Option<Self> {
        let origin = text(request.headers(), &ORIGIN)?.to_owned();
        let bucket = endpoint.place(request.headers(), request.uri())?.bucket;
        let asked = text(request.headers(), &ACCESS_CONTROL_REQUEST_METHOD);
        let method = asked.unwrap_or(request.method().as_str()).to_owned();
        Some(Self { bucket, origin, method, headers: Vec::new() })
    }

    fn is_allowed<'r>(&self, rules: &'r CorsRules) -> Option<Matched<'r>> {
        rules.find(&self.origin, &self.method, &self.headers)
    }

    /// The headers that tell a browser what its page may do and see.
    fn tell(&self, matched: &Matched<'_>, out: &mut HeaderMap) {
        let rule = matched.rule;
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                out.insert(name, value);
            }
        };
        if matched.any_origin {
            set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        } else {
            set(ACCESS_CONTROL_ALLOW_ORIGIN, &self.origin);
            set(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        set(ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
        if !self.headers.is_empty() {
            set(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers.join(", "));
        }
        if !rule.exposed.is_empty() {
            set(ACCESS_CONTROL_EXPOSE_HEADERS, &rule.exposed.join(", "));
        }
        if let Some(seconds) = rule.max_age_seconds {
            set(ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        set(VARY, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

impl Endpoint {
    /// Answers an OPTIONS request.
    pub(super) async fn preflight(&self, request: &Request<Body>) -> Response<Body> {
        if let Some(trace) = request.extensions().get::<Arc<RequestTrace>>() {
            trace.set_operation("Preflight");
        }
        let mut response = Response::new(Body::empty());
        match self.allow(request, response.headers_mut()).await {
            Ok(()) => response,
            Err(error) => refusal(error),
        }
    }

    async fn allow(&self, request: &Request<Body>, out: &mut HeaderMap) -> S3Result<()> {
        let headers = request.headers();
        if text(headers, &ORIGIN).is_none() {
            return Err(bad_request("Insufficient information. Origin request header needed."));
        }
        if text(headers, &ACCESS_CONTROL_REQUEST_METHOD).is_none() {
            return Err(bad_request("Invalid Access-Control-Request-Method: null"));
        }
        let mut asked = CrossOrigin::of(self, request).ok_or_else(|| bad_request("No bucket is named."))?;
        let names = text(headers, &ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default().split(',');
        asked.headers =
            names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
        let rules = self.rules_of(&asked.bucket).await?;
        let rules = rules.ok_or_else(|| forbidden("CORSResponse: CORS is not enabled for this bucket."))?;
        let matched = asked.is_allowed(&rules).ok_or_else(|| {
            forbidden(
                "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, \
                 request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted \
                 by the resource's CORS spec.",
            )
        })?;
        asked.tell(&matched, out);
        Ok(())
    }

    /// Adds to an answer what the bucket's rules tell the page that asked. Failing to find out tells nothing, which
    /// keeps the answer from the page.
    pub(super) async fn tell_page(&self, asked: &CrossOrigin, out: &mut HeaderMap) {
        if let Ok(Some(rules)) = self.rules_of(&asked.bucket).await
            && let Some(matched) = asked.is_allowed(&rules)
        {
            asked.tell(&matched, out);
        }
    }

    async fn rules_of(&self, bucket: &str) -> S3Result<Option<Arc<CorsRules>>> {
        let bucket = self.gateway().catalog.bucket(bucket).await.map_err(errors::catalog)?;
        let bucket = bucket.ok_or_else(|| s3_error!(NoSuchBucket))?;
        self.gateway().config(&bucket, ConfigKind::Cors).await
    }
}

fn bad_request(message: &'static str) -> S3Error {
    with_status("BadRequest", message, StatusCode::BAD_REQUEST)
}

fn forbidden(message: &'static str) -> S3Error {
    with_status("AccessForbidden", message, StatusCode::FORBIDDEN)
}

fn with_status(code: &'static str, message: &'static str, status: StatusCode) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

impl S3Gateway {
    pub(super) async fn put_bucket_cors(
        &self,
        req: S3Request<PutBucketCorsInput>,
    ) -> S3Result<S3Response<PutBucketCorsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketCors, expected_owner).await?;
        let rules = CorsRules::from_dto(input.cors_configuration)?;
        self.set_config(&bucket, ConfigKind::Cors, Some(&rules)).await?;
        Ok(S3Response::new(PutBucketCorsOutput::default()))
    }

    pub(super) async fn get_bucket_cors(
        &self,
        req: S3Request<GetBucketCorsInput>,
    ) -> S3Result<S3Response<GetBucketCorsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketCors, expected_owner).await?;
        let rules = self.config::<CorsRules>(&bucket, ConfigKind::Cors).await?;
        let rules = rules.ok_or_else(|| s3_error!(NoSuchCORSConfiguration))?;
        Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(rules.to_dto()) }))
    }

    pub(super) async fn delete_bucket_cors(
        &self,
        req: S3Request<DeleteBucketCorsInput>,
    ) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketCors, expected_owner).await?;
        self.set_config::<CorsRules>(&bucket, ConfigKind::Cors, None).await?;
        Ok(S3Response::new(DeleteBucketCorsOutput::default()))
    }
}
