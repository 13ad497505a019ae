//! Tags of objects and buckets: what is allowed, and how they are written.
//!
//! A set of tags is sorted by key, and stored as a JSON array of pairs.

use s3s::dto::{Tag, Tagging};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

/// S3's limits, in tags and in characters.
const OBJECT_TAGS_MAX: usize = 10;
const BUCKET_TAGS_MAX: usize = 50;
const KEY_LEN_MAX: usize = 128;
const VALUE_LEN_MAX: usize = 256;
/// Keys that begin so are S3's own.
const RESERVED: &str = "aws:";

/// What carries tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tagged {
    Object,
    Bucket,
}

/// Tags, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct TagSet(Vec<(String, String)>);

impl TagSet {
    /// Checks pairs against S3's limits.
    ///
    /// # Errors
    /// `InvalidTag`, also for a key that comes twice.
    pub(super) fn new(mut pairs: Vec<(String, String)>, tagged: Tagged) -> S3Result<Self> {
        let limit = match tagged {
            Tagged::Object => OBJECT_TAGS_MAX,
            Tagged::Bucket => BUCKET_TAGS_MAX,
        };
        if pairs.len() > limit {
            return Err(s3_error!(InvalidTag, "There can be at most {limit} tags."));
        }
        for (key, value) in &pairs {
            let key_len = key.chars().count();
            if !(1..=KEY_LEN_MAX).contains(&key_len) || key.chars().any(char::is_control) {
                return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
            }
            if value.chars().count() > VALUE_LEN_MAX || value.chars().any(char::is_control) {
                return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
            }
            if key.starts_with(RESERVED) {
                return Err(s3_error!(InvalidTag, "System tags cannot be added/updated by requester"));
            }
        }
        pairs.sort();
        if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
        Ok(Self(pairs))
    }

    /// Reads an object's tags from a header: `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// As [`TagSet::new`].
    pub(super) fn from_header(header: &str) -> S3Result<Self> {
        let pairs = form_urlencoded::parse(header.as_bytes()).into_owned().collect();
        Self::new(pairs, Tagged::Object)
    }

    /// Reads tags from a request's document.
    ///
    /// # Errors
    /// `MalformedXML` without a key or value, else as [`TagSet::new`].
    pub(super) fn from_dto(tagging: Tagging, tagged: Tagged) -> S3Result<Self> {
        let pair = |tag: Tag| tag.key.zip(tag.value).ok_or_else(|| s3_error!(MalformedXML));
        Self::new(tagging.tag_set.into_iter().map(pair).collect::<S3Result<_>>()?, tagged)
    }

    /// As an answer shows them.
    pub(super) fn to_dto(&self) -> Vec<Tag> {
        let tag =
            |(key, value): &(String, String)| Tag { key: Some(key.clone()), value: Some(value.clone()) };
        self.0.iter().map(tag).collect()
    }

    /// Reads what is stored beside a version; none are an empty set.
    ///
    /// # Errors
    /// `InternalError` when it is damaged.
    pub(super) fn decode(stored: Option<&str>) -> S3Result<Self> {
        stored.map_or_else(
            || Ok(Self::default()),
            |stored| serde_json::from_str(stored).map_err(|error| s3_error!(error, InternalError)),
        )
    }

    /// As it is stored beside a version: an empty set is nothing.
    pub(super) fn encode(&self) -> Option<String> {
        let encode = || serde_json::to_string(&self.0).expect("pairs of text have a JSON form");
        (!self.0.is_empty()).then(encode)
    }

    /// How many tags there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn code(result: S3Result<TagSet>) -> String {
        result.map_or_else(|error| error.code().as_str().to_owned(), |_| "allowed".to_owned())
    }

    #[test]
    fn limits_count_characters_and_include_their_bound() {
        let text = |len| "\u{e9}".repeat(len);
        let set = |key: &str, value: &str| code(TagSet::new(pairs(&[(key, value)]), Tagged::Object));
        assert_eq!(set(&text(128), &text(256)), "allowed");
        assert_eq!(set("k", ""), "allowed");
        for (key, value) in [(text(129), text(1)), (text(1), text(257)), (String::new(), text(1))] {
            assert_eq!(set(&key, &value), "InvalidTag");
        }
        assert_eq!(set("aws:k", "v"), "InvalidTag");
        assert_eq!(set("k\n", "v"), "InvalidTag");
        let many = |count: u32| (0..count).map(|key| (key.to_string(), String::new())).collect::<Vec<_>>();
        assert_eq!(code(TagSet::new(many(10), Tagged::Object)), "allowed");
        assert_eq!(code(TagSet::new(many(11), Tagged::Object)), "InvalidTag");
        assert_eq!(code(TagSet::new(many(50), Tagged::Bucket)), "allowed");
        assert_eq!(code(TagSet::new(many(51), Tagged::Bucket)), "InvalidTag");
        assert_eq!(
            code(TagSet::new(pairs(&[("a", "1"), ("b", ""), ("a", "2")]), Tagged::Bucket)),
            "InvalidTag"
        );
    }

    #[test]
    fn a_header_is_a_form_and_tags_come_out_sorted() {
        let set = TagSet::from_header("foo=a+b%26&bar&%C3%A9=%2B").unwrap();
        assert_eq!(set.0, pairs(&[("bar", ""), ("foo", "a b&"), ("\u{e9}", "+")]));
        assert_eq!(TagSet::from_header("").unwrap(), TagSet::default());
        assert_eq!(code(TagSet::from_header("a=1&a=2")), "InvalidTag");
    }

    #[test]
    fn stored_tags_keep_their_form() {
        let set = TagSet::new(pairs(&[("b", "2"), ("a", "\"")]), Tagged::Object).unwrap();
        assert_eq!(set.encode().as_deref(), Some(r#"[["a","\""],["b","2"]]"#));
        assert_eq!(TagSet::decode(set.encode().as_deref()).unwrap(), set);
        assert_eq!(TagSet::default().encode(), None);
        assert_eq!(TagSet::decode(None).unwrap(), TagSet::default());
        assert!(TagSet::decode(Some("{")).is_err());
    }
}
