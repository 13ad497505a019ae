//! What a request says about itself beside its body: why it is made, whether it may be repeated, whether it is only tried
//! out.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode;

use super::ApiError;

/// The longest reason, in bytes.
pub(super) const REASON_LEN_MAX: usize = 1024;
const KEY_LEN_MAX: usize = 128;

const REASON: HeaderName = HeaderName::from_static("datamesh-reason");
const DRY_RUN: HeaderName = HeaderName::from_static("datamesh-dry-run");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The headers `Datamesh-Reason` (percent-encoded), `Idempotency-Key` and `Datamesh-Dry-Run: true`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub reason: String,
    pub idempotency_key: Option<String>,
    pub is_preview: bool,
}

impl Flags {
    /// # Errors
    /// [`ApiError::Invalid`], naming the header.
    pub fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let invalid = |name: &HeaderName, expected: &str| ApiError::Invalid {
            message: format!("{name}: expected {expected}"),
        };
        let reason = headers.get(REASON).map_or(&b""[..], |value| value.as_bytes());
        let reason = percent_decode(reason).decode_utf8();
        let reason = reason.ok().filter(|reason| reason.len() <= REASON_LEN_MAX);
        let reason = reason.ok_or_else(|| invalid(&REASON, "at most 1024 bytes of percent-encoded UTF-8"))?;
        let is_key = |key: &&str| {
            (1..=KEY_LEN_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let key = headers.get(IDEMPOTENCY_KEY).map(|value| {
            let key = value.to_str().ok().filter(is_key).map(str::to_owned);
            key.ok_or_else(|| invalid(&IDEMPOTENCY_KEY, "1 to 128 printable ASCII characters without spaces"))
        });
        let is_preview = match headers.get(DRY_RUN).map(HeaderValue::as_bytes) {
            None | Some(b"false") => false,
            Some(b"true") => true,
            Some(_) => return Err(invalid(&DRY_RUN, "true or false")),
        };
        Ok(Self { reason: reason.into_owned(), idempotency_key: key.transpose()?, is_preview })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(HeaderName, &str)]) -> Result<Flags, ApiError> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        Flags::read(&headers.collect())
    }

    #[test]
    fn flags_are_read_and_nonsense_is_refused() {
        assert_eq!(read(&[]).unwrap(), Flags::default());
        let flags =
            read(&[(REASON, "lost%20k%C3%A9y"), (IDEMPOTENCY_KEY, "a-1"), (DRY_RUN, "true")]).unwrap();
        assert_eq!((flags.reason.as_str(), flags.is_preview), ("lost kéy", true));
        assert_eq!(flags.idempotency_key.as_deref(), Some("a-1"));
        let long = "x".repeat(REASON_LEN_MAX + 1);
        for (name, value) in [
            (REASON, "%FF"),
            (REASON, long.as_str()),
            (IDEMPOTENCY_KEY, ""),
            (IDEMPOTENCY_KEY, "two words"),
            (IDEMPOTENCY_KEY, &long[..=KEY_LEN_MAX]),
            (DRY_RUN, "yes"),
        ] {
            let refused = read(&[(name.clone(), value)]).unwrap_err().to_string();
            assert!(refused.starts_with(name.as_str()), "{refused}");
        }
    }
}
