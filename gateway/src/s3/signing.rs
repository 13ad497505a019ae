//! How a request is signed, as conditions and access logs name it. Whether it is rightly signed is decided before.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};

/// Where the signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Query,
    /// In a field of a form.
    Form,
}

/// The version of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureVersion {
    Two,
    Four,
}

/// How a request is signed. For a form, it is an extension of the PUT that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signing {
    pub carrier: Carrier,
    pub version: SignatureVersion,
}

impl Signing {
    /// How a request that is no form is signed; `None` for one that carries no signature. Of several signatures it is the
    /// one that the protocol library verifies: whoever was given a link can add a header to it, but not replace its
    /// signature.
    pub fn of(headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        use Carrier::{Header, Query};
        use SignatureVersion::{Four, Two};
        let query = uri.query().unwrap_or_default().as_bytes();
        let asks = |name: &str| form_urlencoded::parse(query).any(|(known, _)| known == name);
        let header = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let is_two = |value: &[u8]| value.starts_with(b"AWS ") && value.contains(&b':');
        let (carrier, version) = if asks("Signature") {
            (Query, Two)
        } else if header.is_some_and(is_two) {
            (Header, Two)
        } else if asks("X-Amz-Signature") {
            (Query, Four)
        } else if header.is_some() {
            (Header, Four)
        } else {
            return None;
        };
        Some(Self { carrier, version })
    }

    /// `s3:authType`.
    pub const fn auth_type(self) -> &'static str {
        match self.carrier {
            Carrier::Header => "REST-HEADER",
            Carrier::Query => "REST-QUERY-STRING",
            Carrier::Form => "POST",
        }
    }

    /// `s3:signatureversion`.
    pub const fn version_name(self) -> &'static str {
        match self.version {
            SignatureVersion::Two => "AWS",
            SignatureVersion::Four => "AWS4-HMAC-SHA256",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_known_by_its_place_and_version() {
        let of = |authorization: Option<&'static str>, uri: &'static str| {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            }
            let signing = Signing::of(&headers, &Uri::from_static(uri));
            signing.map(|signing| (signing.auth_type(), signing.version_name()))
        };
        let four = "AWS4-HMAC-SHA256";
        assert_eq!(of(Some("AWS4-HMAC-SHA256 Credential=a"), "/b/k"), Some(("REST-HEADER", four)));
        assert_eq!(of(Some("AWS key:tag"), "/b/k"), Some(("REST-HEADER", "AWS")));
        let link = "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0a";
        for added in [None, Some("AWS4-HMAC-SHA256 Credential=a"), Some("AWS key"), Some("Bearer x:y")] {
            assert_eq!(of(added, link), Some(("REST-QUERY-STRING", four)), "{added:?}");
        }
        assert_eq!(of(Some("AWS key:tag"), link), Some(("REST-HEADER", "AWS")));
        let link = "/b/k?AWSAccessKeyId=a&Expires=1&Signature=b%3D";
        for added in [None, Some("AWS4-HMAC-SHA256 Credential=a"), Some("AWS key:tag")] {
            assert_eq!(of(added, link), Some(("REST-QUERY-STRING", "AWS")), "{added:?}");
        }
        for unsigned in ["/b/k", "/b/k?prefix=X-Amz-Signature"] {
            assert_eq!(of(None, unsigned), None, "{unsigned}");
        }
    }
}
