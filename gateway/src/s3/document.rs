//! The digests of documents: what a client says of the XML or JSON that it sends is compared before anything is done.
//!
//! Bodies of objects and parts are compared where they are stored.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body::{Frame, SizeHint};
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::{Body, S3Error, S3Result, s3_error};

use super::checksums::{Declared, parse_content_md5};

/// What a PUT of a key's properties names in its query; every other PUT of a key is an object or a part.
const PROPERTIES: [&str; 4] = ["acl", "tagging", "retention", "legal-hold"];

/// Why a document was refused, once it was.
#[derive(Clone, Default)]
pub(super) struct Refused(Arc<Mutex<Option<S3Error>>>);

impl Refused {
    /// The error to answer with.
    pub(super) fn into_error(self) -> Option<S3Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Has the request's document compared with the digests in its headers while it is read.
/// `None` when there is nothing to compare.
///
/// `names_key`: whether the request is about an object, not about a bucket or less.
pub(super) fn check(request: &mut Request<Body>, names_key: bool) -> Option<Refused> {
    let headers = request.headers();
    if !is_document(request.method(), request.uri(), names_key) {
        return None;
    }
    let expected = match Expected::of(headers, request.uri()) {
        Ok(expected) if expected.is_nothing() => return None,
        expected => expected,
    };
    let refused = Refused::default();
    let inner = std::mem::take(request.body_mut());
    let state = expected.map(Digests::new);
    let checked = CheckedDocument { inner, state: Some(state), refused: Refused::clone(&refused) };
    *request.body_mut() = Body::http_body(checked);
    Some(refused)
}

fn is_document(method: &Method, uri: &Uri, names_key: bool) -> bool {
    match *method {
        Method::POST => true,
        Method::PUT => !names_key || names(uri, &PROPERTIES),
        _ => false,
    }
}

fn names(uri: &Uri, parameters: &[&str]) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs
        .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name))
        .any(|name| parameters.contains(&name))
}

/// What a request says of its document.
struct Expected {
    md5: Option<[u8; 16]>,
    checksum: Option<Declared>,
}

impl Expected {
    /// Reads the headers.
    ///
    /// # Errors
    /// `InvalidDigest`, `BadDigest`, `InvalidRequest`: no digest that a document can have.
    fn of(headers: &HeaderMap, uri: &Uri) -> S3Result<Self> {
        let md5 = headers.get("content-md5").map(|value| value.to_str().unwrap_or_default());
        let md5 = md5.map(parse_content_md5).transpose()?;
        // The completion of an upload tells the checksum of the object.
        let checksum = if names(uri, &["uploadId"]) { None } else { Declared::in_headers(headers)? };
        let expected = Self { md5, checksum };
        let is_chunked = headers
            .get("x-amz-content-sha256")
            .is_some_and(|payload| payload.as_bytes().starts_with(b"STREAMING-"));
        if is_chunked && (headers.contains_key("x-amz-trailer") || !expected.is_nothing()) {
            return Err(s3_error!(
                InvalidRequest,
                "A document that is sent in chunks can have neither a digest nor trailers."
            ));
        }
        Ok(expected)
    }

    const fn is_nothing(&self) -> bool {
        self.md5.is_none() && self.checksum.is_none()
    }
}

/// The digests under way.
struct Digests {
    expected: Expected,
    md5: Md5,
    checksum: ChecksumHasher,
}

impl Digests {
    fn new(expected: Expected) -> Self {
        let checksum = expected.checksum.as_ref().map(|declared| declared.algorithm.hasher());
        Self { expected, md5: Md5::new(), checksum: checksum.unwrap_or_default() }
    }

    fn update(&mut self, bytes: &[u8]) {
        if self.expected.md5.is_some() {
            self.md5.update(bytes);
        }
        self.checksum.update(bytes);
    }

    fn verify(self) -> S3Result<()> {
        if self.expected.md5.is_some_and(|expected| expected[..] != self.md5.finalize()[..]) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        let Some(declared) = self.expected.checksum else { return Ok(()) };
        let computed = declared.algorithm.pick(self.checksum.finalize()).unwrap_or_default();
        declared.verify(&computed, None)
    }
}

/// A document that fails at its end when it is not what was declared.
struct CheckedDocument {
    inner: Body,
    /// `None` once it has been compared.
    state: Option<S3Result<Digests>>,
    refused: Refused,
}

impl CheckedDocument {
    fn finish(&mut self) -> io::Result<()> {
        let Some(state) = self.state.take() else { return Ok(()) };
        state.and_then(Digests::verify).map_err(|error| {
            *self.refused.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            io::ErrorKind::InvalidData.into()
        })
    }
}

impl http_body::Body for CheckedDocument {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            Some(Err(_)) => return Poll::Ready(frame),
            None => None,
        };
        if let (Some(Ok(digests)), Some(data)) = (&mut self.state, data) {
            digests.update(data);
        }
        // A reader that knows the length may not come for the end.
        if (frame.is_none() || self.inner.is_end_stream())
            && let Err(error) = self.finish()
        {
            return Poll::Ready(Some(Err(error.into())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.state.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_from_objects_by_what_a_request_names() {
        for (method, uri, names_key, expected) in [
            (Method::PUT, "/bucket", false, true),
            (Method::PUT, "/bucket?policy", false, true),
            (Method::PUT, "/bucket/key", true, false),
            (Method::PUT, "/bucket/key?x-id=PutObject", true, false),
            (Method::PUT, "/bucket/acl?partNumber=1&uploadId=a", true, false),
            (Method::PUT, "/bucket/key?acl", true, true),
            (Method::PUT, "/bucket/key?tagging=&versionId=1", true, true),
            (Method::POST, "/bucket?delete", false, true),
            (Method::GET, "/bucket/key?acl", true, false),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(is_document(&method, &uri, names_key), expected, "{method} {uri}");
        }
    }
}
