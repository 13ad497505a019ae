//! POST policies: what a form may say, written by whoever signed it.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::{S3Error, S3Result, s3_error};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

/// A policy, decoded.
#[derive(Debug)]
pub(super) struct Policy {
    expiration: OffsetDateTime,
    conditions: Vec<Condition>,
    /// The least and the most bytes of the file.
    pub file_len: Option<(u64, u64)>,
}

/// A condition on a field, whose name is in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Condition {
    field: String,
    matches: Match,
}

#[derive(Debug, PartialEq, Eq)]
enum Match {
    Equals(String),
    StartsWith(String),
}

impl Policy {
    /// Decodes the form's field.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub fn decode(encoded: &str) -> S3Result<Self> {
        let json = STANDARD.decode(encoded.trim()).map_err(|_| invalid("it is not base64"))?;
        let document: Map<String, Value> =
            serde_json::from_slice(&json).map_err(|_| invalid("it is not a JSON object"))?;
        let expiration = document.get("expiration").and_then(Value::as_str);
        let expiration = expiration.ok_or_else(|| invalid("expiration is missing"))?;
        let expiration = OffsetDateTime::parse(expiration, &Iso8601::DEFAULT)
            .map_err(|_| invalid("expiration is not an ISO 8601 time"))?;
        let listed = document.get("conditions").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| invalid("conditions are missing"))?;
        let mut policy = Self { expiration, conditions: Vec::new(), file_len: None };
        for condition in listed {
            match condition {
                Value::Object(pairs) => policy.add_pairs(pairs)?,
                Value::Array(items) => policy.add_items(items)?,
                _ => return Err(invalid("a condition is neither an object nor a list")),
            }
        }
        Ok(policy)
    }

    fn add_pairs(&mut self, pairs: &Map<String, Value>) -> S3Result<()> {
        if pairs.is_empty() {
            return Err(invalid("a condition is empty"));
        }
        for (field, value) in pairs {
            let value = value.as_str().ok_or_else(|| invalid("a condition's value is not a text"))?;
            let matches = Match::Equals(value.to_owned());
            self.conditions.push(Condition { field: field.to_ascii_lowercase(), matches });
        }
        Ok(())
    }

    fn add_items(&mut self, items: &[Value]) -> S3Result<()> {
        let [operator, first, second] = items else {
            return Err(invalid("a condition has not three elements"));
        };
        let operator = operator.as_str().unwrap_or_default().to_ascii_lowercase();
        if operator == "content-length-range" {
            let (Some(min), Some(max)) = (number(first), number(second)) else {
                return Err(invalid("a content-length-range is not of two numbers"));
            };
            let (known_min, known_max) = self.file_len.unwrap_or((0, u64::MAX));
            self.file_len = Some((known_min.max(min), known_max.min(max)));
            return Ok(());
        }
        let field = first.as_str().and_then(|field| field.strip_prefix('$'));
        let (Some(field), Some(value)) = (field, second.as_str()) else {
            return Err(invalid("a condition is not of a $field and a text"));
        };
        let value = value.to_owned();
        let matches = match operator.as_str() {
            "eq" => Match::Equals(value),
            "starts-with" => Match::StartsWith(value),
            _ => return Err(invalid("a condition has an unknown operator")),
        };
        self.conditions.push(Condition { field: field.to_ascii_lowercase(), matches });
        Ok(())
    }

    /// Whether the form keeps to the policy. `fields` has its names in lower case; the bucket is not among them.
    ///
    /// # Errors
    /// `AccessDenied`: it has expired, a condition fails, or a field has no condition.
    pub fn check(&self, bucket: &str, fields: &[(String, String)], now: OffsetDateTime) -> S3Result<()> {
        if now >= self.expiration {
            return Err(s3_error!(AccessDenied, "Invalid according to Policy: Policy expired."));
        }
        for condition in &self.conditions {
            let value = match condition.field.as_str() {
                "bucket" => Some(bucket),
                field => fields.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str()),
            };
            if !condition.holds(value) {
                let field = &condition.field;
                return Err(s3_error!(
                    AccessDenied,
                    "Invalid according to Policy: Policy Condition failed: ${field}"
                ));
            }
        }
        let has_condition = |name: &str| self.conditions.iter().any(|condition| condition.field == name);
        let names = fields.iter().map(|(name, _)| name.as_str()).chain(["bucket"]);
        match names.filter(|name| !is_exempt(name)).find(|name| !has_condition(name)) {
            Some(name) => {
                Err(s3_error!(AccessDenied, "Invalid according to Policy: Extra input fields: {name}"))
            }
            None => Ok(()),
        }
    }
}

impl Condition {
    fn holds(&self, value: Option<&str>) -> bool {
        match (&self.matches, value) {
            (Match::Equals(wanted), Some(value)) => value == wanted,
            // Several content types may be offered, each of which must fit.
            (Match::StartsWith(prefix), Some(value)) if self.field == "content-type" => {
                value.split(',').all(|one| one.trim().starts_with(prefix.as_str()))
            }
            (Match::StartsWith(prefix), Some(value)) => value.starts_with(prefix.as_str()),
            // Any content is allowed, so none is, too.
            (Match::StartsWith(prefix), None) => prefix.is_empty(),
            (Match::Equals(_), None) => false,
        }
    }
}

/// Fields that no condition is needed for: the signature's own, what is to be ignored, and digests, which allow nothing.
fn is_exempt(name: &str) -> bool {
    const EXEMPT: [&str; 6] = ["policy", "file", "submit", "x-amz-signature", "signature", "awsaccesskeyid"];
    EXEMPT.contains(&name)
        || name.starts_with("x-ignore-")
        || name.starts_with("x-amz-checksum-")
        || name == "x-amz-sdk-checksum-algorithm"
        || name == "content-md5"
}

/// S3 takes numbers also as texts.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn invalid(why: &str) -> S3Error {
    s3_error!(InvalidPolicyDocument, "Invalid Policy: {why}.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn policy(conditions: &Value) -> S3Result<Policy> {
        let document = json!({ "expiration": "2026-01-01T00:00:01.000Z", "conditions": conditions });
        Policy::decode(&STANDARD.encode(document.to_string()))
    }

    fn check(conditions: &Value, fields: &[(&str, &str)]) -> bool {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        policy(conditions).unwrap().check("b", &fields, NOW).is_ok()
    }

    #[test]
    fn every_field_needs_a_condition_and_every_condition_its_field() {
        let conditions = json!([
            {"bUcKeT": "b"}, ["StArTs-WiTh", "$KeY", "up/"], {"acl": "private"}, ["starts-with", "$x-amz-meta-any", ""]
        ]);
        let fields = [("key", "up/x"), ("acl", "private")];
        assert!(check(&conditions, &fields));
        assert!(check(
            &conditions,
            &[&fields[..], &[("x-amz-meta-any", "1"), ("policy", ""), ("x-ignore-a", "")]].concat()
        ));
        assert!(check(&conditions, &[&fields[..], &[("x-amz-checksum-crc32", "AAAAAA==")]].concat()));
        for wrong in [
            &[("key", "up/x")][..],
            &[("key", "down/x"), ("acl", "private")],
            &[("key", "up/x"), ("acl", "public-read")],
            &[("key", "up/x"), ("acl", "private"), ("x-amz-meta-b", "1")],
        ] {
            assert!(!check(&conditions, wrong), "{wrong:?}");
        }
        assert!(
            !check(&json!([["starts-with", "$key", ""]]), &[("key", "x")]),
            "the bucket has no condition"
        );
        assert!(!check(&json!([{"bucket": "other"}, ["starts-with", "$key", ""]]), &[("key", "x")]));
    }

    #[test]
    fn a_policy_holds_until_it_expires() {
        let policy = policy(&json!([{"bucket": "b"}])).unwrap();
        assert!(policy.check("b", &[], NOW).is_ok());
        assert!(policy.check("b", &[], NOW + time::Duration::SECOND).is_err());
    }

    #[test]
    fn the_length_of_the_file_is_the_narrowest_range() {
        let range = |conditions: Value| policy(&conditions).unwrap().file_len;
        assert_eq!(range(json!([])), None);
        assert_eq!(range(json!([["content-length-range", 1, "10"]])), Some((1, 10)));
        assert_eq!(
            range(json!([["content-length-range", 1, 10], ["content-length-range", 0, 5]])),
            Some((1, 5))
        );
    }

    #[test]
    fn a_malformed_policy_is_refused() {
        for conditions in [
            json!([{}]),
            json!(["x"]),
            json!([{"acl": 1}]),
            json!([["eq", "$key"]]),
            json!([["eq", "key", "x"]]),
            json!([["matches", "$key", "x"]]),
            json!([["content-length-range", 0]]),
            json!([["content-length-range", -1, 0]]),
            json!("x"),
        ] {
            assert!(policy(&conditions).is_err(), "{conditions}");
        }
        for document in [
            json!({"conditions": []}),
            json!({"expiration": "2026-01-01T00:00:00Z"}),
            json!({"EXPIRATION": "2026-01-01T00:00:00Z", "conditions": []}),
            json!({"expiration": "2026-01-01 00:00:00.5+00:00", "conditions": []}),
            json!([]),
        ] {
            let error = Policy::decode(&STANDARD.encode(document.to_string())).unwrap_err();
            assert_eq!(*error.code(), s3s::S3ErrorCode::InvalidPolicyDocument, "{document}");
        }
        assert!(Policy::decode("?").is_err());
    }
}
