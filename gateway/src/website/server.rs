//! Answering a browser.

use async_trait::async_trait;
use datamesh_catalog::ConfigKind;
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_LENGTH,
    CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, LOCATION, ORIGIN, RANGE, REFERER, RETRY_AFTER, USER_AGENT,
};
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode};
use s3s::{Body, HttpError};

use super::route;
use super::site::{Scheme, Website};
use crate::http::Respond;
use crate::s3::{Endpoint, S3Gateway};

/// What a browser may ask of an object.
const ASKED: [HeaderName; 5] = [RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
/// What policies, rules for pages of other origins and logs know of a browser; everything else of its headers stays here.
const KNOWN: [HeaderName; 5] =
    [REFERER, USER_AGENT, ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS];
const REDIRECT: HeaderName = HeaderName::from_static("x-amz-website-redirect-location");

/// The sites of all buckets. Cheap to clone.
#[derive(Clone)]
pub struct WebsiteService {
    /// Finds buckets and their configurations.
    pub gateway: S3Gateway,
    /// Reads objects, as anybody.
    pub objects: Endpoint,
    /// Domains whose subdomains are buckets.
    pub domains: Vec<String>,
    /// Whether the listener speaks HTTPS.
    pub encrypted: bool,
}

#[async_trait]
impl Respond for WebsiteService {
    async fn respond(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        self.answer(request).await
    }
}

/// A browser's request for a key of a site.
struct Visit<'a> {
    bucket: &'a str,
    host: &'a str,
    key: &'a str,
    method: &'a Method,
    headers: &'a HeaderMap,
    /// At whose expense it is, where it comes from and what is told of it: those of the listener's request.
    extensions: &'a Extensions,
}

impl WebsiteService {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        let (parts, _) = request.into_parts();
        if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method) {
            let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            return Ok(refusal);
        }
        let host = parts.uri.authority().map(ToString::to_string).or_else(|| {
            let host = parts.headers.get(HOST)?.to_str().ok()?;
            Some(host.to_owned())
        });
        let host = host.unwrap_or_default();
        let Some(bucket) = route::bucket_of(&host, &self.domains) else {
            return Ok(page(StatusCode::BAD_REQUEST, "InvalidRequest"));
        };
        let site = match self.site(&bucket).await {
            Ok(Some(site)) => site,
            Ok(None) => return Ok(page(StatusCode::NOT_FOUND, "NoSuchWebsiteConfiguration")),
            Err(refusal) => return Ok(refusal),
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        if let Some(location) = route::redirect_all(&site, target, self.scheme()) {
            return Ok(redirect(301, &location));
        }
        let Some(key) = route::key_of(parts.uri.path()) else {
            return Ok(page(StatusCode::BAD_REQUEST, "InvalidURI"));
        };
        let visit = Visit {
            bucket: &bucket,
            host: &host,
            key: &key,
            method: &parts.method,
            headers: &parts.headers,
            extensions: &parts.extensions,
        };
        if parts.method == Method::OPTIONS {
            return self.read(&visit, &key, &HeaderMap::new()).await;
        }
        self.show(&site, &visit).await
    }

    const fn scheme(&self) -> Scheme {
        if self.encrypted { Scheme::Https } else { Scheme::Http }
    }

    async fn site(&self, bucket: &str) -> Result<Option<std::sync::Arc<Website>>, Response<Body>> {
        let unavailable = || page(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        let found = self.gateway.catalog.bucket(bucket).await.map_err(|error| {
            tracing::error!(bucket, %error, "could not look a site's bucket up");
            unavailable()
        })?;
        let Some(found) = found else { return Err(page(StatusCode::NOT_FOUND, "NoSuchBucket")) };
        self.gateway.config::<Website>(&found, ConfigKind::Website).await.map_err(|_| unavailable())
    }

    async fn show(&self, site: &Website, visit: &Visit<'_>) -> Result<Response<Body>, HttpError> {
        let place = (visit.host, self.scheme());
        if let Some((status, location)) = route::redirect(site, visit.key, None, place) {
            return Ok(redirect(status, &location));
        }
        let shown = route::page_of(site, visit.key);
        let mut answer = self.read(visit, &shown, visit.headers).await?;
        let status = answer.status();
        if !(status.is_client_error() || status.is_server_error()) {
            return Ok(match answer.headers_mut().remove(REDIRECT) {
                Some(location) => redirect_to(StatusCode::MOVED_PERMANENTLY, location),
                None => answer,
            });
        }
        // Who may not list the bucket is not told that a key is missing.
        let absent = matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
        if absent && shown == visit.key && site.index.is_some() {
            // The name of a folder without its slash.
            let folder = format!("{}/", visit.key);
            let index = self.read(visit, &route::page_of(site, &folder), &HeaderMap::new()).await?;
            if index.status().is_success() {
                return Ok(redirect(302, &route::object_path("", &folder)[1..]));
            }
        }
        if let Some((status, location)) = route::redirect(site, visit.key, Some(status.as_u16()), place) {
            return Ok(redirect(status, &location));
        }
        self.show_error(site, visit, answer).await
    }

    /// The site's page for errors, else a plain one.
    async fn show_error(
        &self,
        site: &Website,
        visit: &Visit<'_>,
        refusal: Response<Body>,
    ) -> Result<Response<Body>, HttpError> {
        let status = refusal.status();
        if status.is_client_error()
            && let Some(key) = &site.error
        {
            let mut answer = self.read(visit, key, &HeaderMap::new()).await?;
            if answer.status().is_success() {
                *answer.status_mut() = status;
                answer.headers_mut().remove(ACCEPT_RANGES);
                return Ok(answer);
            }
        }
        let mut answer = page(status, status.canonical_reason().unwrap_or("Error"));
        if let Some(when) = refusal.headers().get(RETRY_AFTER) {
            answer.headers_mut().insert(RETRY_AFTER, when.clone());
        }
        Ok(answer)
    }

    /// Reads an object as somebody who has no account would.
    async fn read(
        &self,
        visit: &Visit<'_>,
        key: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, HttpError> {
        let mut request = Request::new(Body::empty());
        request.method_mut().clone_from(visit.method);
        let Ok(uri) = route::object_path(visit.bucket, key).parse() else {
            return Ok(page(StatusCode::BAD_REQUEST, "InvalidURI"));
        };
        *request.uri_mut() = uri;
        *request.extensions_mut() = visit.extensions.clone();
        for (names, headers) in [(ASKED, headers), (KNOWN, visit.headers)] {
            let found = names.into_iter().filter_map(|name| Some((headers.get(&name)?.clone(), name)));
            request.headers_mut().extend(found.map(|(value, name)| (name, value)));
        }
        self.objects.call(request).await
    }
}

fn redirect(status: u16, location: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    match HeaderValue::from_str(location) {
        Ok(location) => redirect_to(status, location),
        Err(_) => page(StatusCode::BAD_REQUEST, "InvalidRequest"),
    }
}

fn redirect_to(status: StatusCode, location: HeaderValue) -> Response<Body> {
    let mut answer = page(status, status.canonical_reason().unwrap_or("Moved"));
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// A page that says no more than `title`, which is never a client's text.
fn page(status: StatusCode, title: &str) -> Response<Body> {
    let html = format!(
        "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>{status}</h1><p>{title}</p>\
         </body></html>\n"
    );
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(html.len()));
    *answer.body_mut() = Body::from(html);
    answer
}
