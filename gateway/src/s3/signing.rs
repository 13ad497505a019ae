//! How a request is signed, as conditions and access logs name it. Whether it is rightly signed is decided before.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

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
    /// How a request that is no form is signed; `None` for one that carries no signature.
    pub fn of(headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        use SignatureVersion::{Four, Two};
        if let Some(value) = headers.get(AUTHORIZATION) {
            let version = if value.as_bytes().starts_with(b"AWS ") { Two } else { Four };
            return Some(Self { carrier: Carrier::Header, version });
        }
        let query = uri.query()?.as_bytes();
        let has = |name: &str| form_urlencoded::parse(query).any(|(known, _)| known == name);
        let version = if has("X-Amz-Signature") {
            Four
        } else if has("Signature") && has("AWSAccessKeyId") {
            Two
        } else {
            return None;
        };
        Some(Self { carrier: Carrier::Query, version })
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
    use http::HeaderValue;

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
        assert_eq!(of(None, link), Some(("REST-QUERY-STRING", four)));
        let link = "/b/k?AWSAccessKeyId=a&Expires=1&Signature=b%3D";
        assert_eq!(of(None, link), Some(("REST-QUERY-STRING", "AWS")));
        for unsigned in ["/b/k", "/b/k?Signature=b", "/b/k?prefix=X-Amz-Signature"] {
            assert_eq!(of(None, unsigned), None, "{unsigned}");
        }
    }
}
