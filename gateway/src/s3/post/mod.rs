//! `PostObject`: uploads by HTML forms.
//!
//! A form is turned into the PUT that it stands for: its fields become the headers, its file the body, and the
//! account that signed its policy the identity. So a form can do nothing that a PUT could not, and whatever decides
//! about PUTs decides about forms. The file is passed on as it comes. The protocol library is not asked to read forms: it
//! would hold those of unknown length whole, and answers a policy's refusal with other codes than S3.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>

mod answer;
mod form;
mod policy;
mod signature;

use std::sync::Arc;

use futures::TryStreamExt;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, REFERER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::StreamBody;
use s3s::{Body, HttpError, S3Result, s3_error};
use time::OffsetDateTime;

use super::auth;
use super::caller::Identity;
use super::endpoint::{Endpoint, refusal};
use super::errors;
use super::signing::Signing;
use crate::http::RequestTrace;

pub(super) use form::FormError;
use form::{Form, boundary_of};
use policy::Policy;
use signature::FormSignature;

const SECURITY_TOKEN: &str = "x-amz-security-token";

/// Who signed a form. Only [`Endpoint::post_object`] puts it into a request.
#[derive(Clone)]
pub(super) struct FormIdentity(pub Identity);

/// The most bytes that a form's file can have: its exact length shows only at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileLenMax(pub u64);

/// Whether a request is a form.
pub(super) fn is_form(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::POST && boundary(headers).is_some()
}

fn boundary(headers: &HeaderMap) -> Option<&str> {
    boundary_of(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

impl Endpoint {
    /// Answers a form.
    pub(super) async fn post_object(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        if let Some(trace) = request.extensions().get::<Arc<RequestTrace>>() {
            trace.set_operation("PostObject");
        }
        let (put, wanted) = match self.put_of_form(request).await {
            Ok(put) => put,
            Err(error) => return Ok(refusal(error)),
        };
        let stored = self.protocol().call(put).await?;
        Ok(if stored.status().is_success() { wanted.answer(stored) } else { stored })
    }

    /// The PUT that a form stands for, and the answer it wants.
    async fn put_of_form(&self, request: Request<Body>) -> S3Result<(Request<Body>, answer::Wanted)> {
        let (head, body) = request.into_parts();
        let place = self.place(&head.headers, &head.uri).ok_or_else(|| s3_error!(MethodNotAllowed))?;
        if !place.key.is_empty() {
            return Err(s3_error!(MethodNotAllowed));
        }
        let boundary = boundary(&head.headers).ok_or_else(|| s3_error!(MalformedPOSTRequest))?;
        let mut form = form::read(body, boundary).await.map_err(errors::form)?;
        let file_len_max = form.file.len_max().ok_or_else(|| s3_error!(MissingContentLength))?;
        let key = name_file(&mut form)?;
        let (identity, signing) = self.identity_of_form(&place.bucket, &mut form).await?;
        let uri = place.object_uri(&key);
        let wanted = answer::Wanted::new(&form, &head, &place.bucket, key);
        let mut put = Request::new(Body::empty());
        *put.method_mut() = Method::PUT;
        *put.uri_mut() = uri.parse::<Uri>().map_err(|_| s3_error!(KeyTooLongError))?;
        *put.headers_mut() = headers_of(&form, &head.headers)?;
        *put.extensions_mut() = head.extensions;
        put.extensions_mut().insert(FormIdentity(identity));
        put.extensions_mut().insert(FileLenMax(file_len_max));
        if let Some(signing) = signing {
            put.extensions_mut().insert(signing);
        }
        let file = StreamBody::new(form.file.map_ok(http_body::Frame::data));
        Ok((put.map(|_| Body::http_body_unsync(file)), wanted))
    }

    /// Checks signature and policy.
    async fn identity_of_form(&self, bucket: &str, form: &mut Form) -> S3Result<(Identity, Option<Signing>)> {
        let now = OffsetDateTime::now_utc();
        let Some(signature) = FormSignature::find(form, now)? else { return Ok((Identity::Anonymous, None)) };
        let policy = Policy::decode(signature.policy)?;
        let accounts = &self.gateway().accounts;
        signature.verify(auth::secret_of(accounts, signature.access_key).await?.expose())?;
        // Of temporary credentials, the token comes in a field.
        let mut token = HeaderMap::new();
        if let Some(value) = form.field(SECURITY_TOKEN) {
            let value = HeaderValue::from_str(value).map_err(|_| s3_error!(InvalidToken))?;
            token.insert(SECURITY_TOKEN, value);
        }
        let identity = auth::identify(accounts, Some(signature.access_key), &token, &Uri::default()).await?;
        let signing = signature.signing();
        policy.check(bucket, &form.fields, now)?;
        if let Some((min, max)) = policy.file_len {
            form.file.set_bounds(min, max);
        }
        Ok((identity, Some(signing)))
    }
}

/// Puts the file's name into the key, and returns that.
fn name_file(form: &mut Form) -> S3Result<String> {
    let named = form.fields.iter_mut().find(|(name, _)| name == "key");
    let (_, key) =
        named.ok_or_else(|| s3_error!(InvalidArgument, "Bucket POST must contain a field named 'key'."))?;
    *key = key.replace("${filename}", &form.filename);
    if key.is_empty() {
        return Err(s3_error!(InvalidArgument, "User key must have a length greater than 0."));
    }
    Ok(key.clone())
}

/// The headers of the PUT. A field that is not known to be one of PUT's stays out, above all what would make another
/// operation of it.
fn headers_of(form: &Form, request: &HeaderMap) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for name in [HOST, ORIGIN, REFERER, USER_AGENT] {
        if let Some(value) = request.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    for (field, value) in &form.fields {
        let (name, value) = match field.as_str() {
            "acl" => ("x-amz-acl", value.clone()),
            "tagging" => ("x-amz-tagging", tags_of(value)?),
            field if is_header(field) => (field, value.clone()),
            _ => continue,
        };
        let invalid = || s3_error!(InvalidArgument, "The value of the field {field} is invalid.");
        let name = HeaderName::try_from(name).map_err(|_| invalid())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
        if headers.insert(name, value).is_some() {
            return Err(s3_error!(InvalidArgument, "The field {field} says again what another field says."));
        }
    }
    Ok(headers)
}

fn is_header(field: &str) -> bool {
    const NAMES: [&str; 12] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "content-type",
        "expires",
        "x-amz-acl",
        "x-amz-expected-bucket-owner",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
    ];
    const PREFIXES: [&str; 5] = [
        "x-amz-meta-",
        "x-amz-server-side-encryption",
        "x-amz-object-lock-",
        "x-amz-checksum-",
        "x-amz-grant-",
    ];
    NAMES.contains(&field) || PREFIXES.iter().any(|prefix| field.starts_with(prefix))
}

/// The tags of a `tagging` field, a document, as PUT has them in its header.
fn tags_of(document: &str) -> S3Result<String> {
    let malformed = || s3_error!(MalformedXML);
    let mut deserializer = s3s::xml::Deserializer::new(document.as_bytes());
    let tagging: s3s::dto::Tagging =
        s3s::xml::Deserialize::deserialize(&mut deserializer).map_err(|_| malformed())?;
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    for tag in tagging.tag_set {
        encoded.append_pair(tag.key.as_deref().unwrap_or_default(), tag.value.as_deref().unwrap_or_default());
    }
    Ok(encoded.finish())
}
