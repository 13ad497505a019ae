use serde_json::json;

use super::*;

/// Requests with these facts.
struct Known(Vec<(Fact, &'static str)>);

impl Facts for Known {
    fn values(&self, fact: &Fact) -> Vec<Cow<'_, str>> {
        self.0.iter().filter(|(known, _)| known == fact).map(|(_, value)| (*value).into()).collect()
    }
}

fn holds(operator: &str, key: &str, value: &Value, facts: &Known) -> bool {
    Condition::parse(operator, key, value, true).unwrap().holds(facts).unwrap()
}

#[test]
fn operators_compare_as_documented() {
    let facts = Known(vec![
        (Fact::Acl, "public-read"),
        (Fact::Prefix, "Home/"),
        (Fact::MaxKeys, "10"),
        (Fact::CurrentTime, "2026-11-22T12:00:00Z"),
        (Fact::SecureTransport, "true"),
        (Fact::SourceIp, "10.1.2.3"),
        (Fact::PrincipalArn, "arn:aws:iam::07:user/KEY"),
        (Fact::ContentSha256, "aGk="),
    ]);
    let cases = [
        ("StringEquals", "s3:x-amz-acl", json!("public-read"), true),
        ("StringEquals", "s3:x-amz-acl", json!(["private", "public-read"]), true),
        ("StringEquals", "s3:x-amz-acl", json!("public*"), false),
        ("StringNotEquals", "s3:x-amz-acl", json!(["private", "public-read"]), false),
        ("StringNotEquals", "s3:x-amz-acl", json!("private"), true),
        ("StringEqualsIgnoreCase", "s3:prefix", json!("home/"), true),
        ("StringNotEqualsIgnoreCase", "s3:prefix", json!("home/"), false),
        ("StringLike", "s3:x-amz-acl", json!("public*"), true),
        ("StringNotLike", "s3:x-amz-acl", json!("public*"), false),
        ("NumericLessThanEquals", "s3:max-keys", json!(10), true),
        ("NumericLessThan", "s3:max-keys", json!("10"), false),
        ("NumericEquals", "s3:max-keys", json!("10.0"), true),
        ("NumericNotEquals", "s3:max-keys", json!("10"), false),
        ("NumericGreaterThan", "s3:max-keys", json!("9.5"), true),
        ("NumericGreaterThanEquals", "s3:max-keys", json!("11"), false),
        ("DateLessThan", "aws:CurrentTime", json!("2026-11-23T00:00:00Z"), true),
        ("DateLessThanEquals", "aws:CurrentTime", json!("2026-11-22"), false),
        ("DateGreaterThan", "aws:CurrentTime", json!("2026-11-22"), true),
        ("DateGreaterThanEquals", "aws:CurrentTime", json!("2026-11-22T13:00:00+01:00"), true),
        ("DateEquals", "aws:CurrentTime", json!("2026-11-22T12:00:00Z"), true),
        ("DateNotEquals", "aws:CurrentTime", json!("2026-11-22T12:00:00Z"), false),
        ("Bool", "aws:SecureTransport", json!("false"), false),
        ("Bool", "aws:SecureTransport", json!(true), true),
        ("BinaryEquals", "s3:x-amz-content-sha256", json!("aGk="), true),
        ("IpAddress", "aws:SourceIp", json!(["192.0.2.0/24", "10.0.0.0/8"]), true),
        ("NotIpAddress", "aws:SourceIp", json!("10.0.0.0/8"), false),
        ("NotIpAddress", "aws:SourceIp", json!("2001:db8::/32"), true),
        ("ArnLike", "aws:PrincipalArn", json!("arn:aws:iam::*:user/*"), true),
        ("ArnLike", "aws:PrincipalArn", json!("arn:*:user/KEY"), false),
        ("ArnEquals", "aws:PrincipalArn", json!("arn:aws:iam::07:user/KEY"), true),
        ("ArnNotLike", "aws:PrincipalArn", json!("arn:aws:iam::08:*"), true),
        ("Null", "s3:x-amz-acl", json!("false"), true),
        ("Null", "s3:x-amz-acl", json!("true"), false),
        ("Null", "s3:x-amz-storage-class", json!(true), true),
    ];
    for (operator, key, value, expected) in cases {
        assert_eq!(holds(operator, key, &value, &facts), expected, "{operator} {key} {value}");
    }
}

#[test]
fn an_absent_fact_fulfils_only_negations_and_if_exists() {
    let nothing = Known(Vec::new());
    let cases = [
        ("StringEquals", false),
        ("StringNotEquals", true),
        ("StringLikeIfExists", true),
        ("StringNotLikeIfExists", true),
        ("ForAllValues:StringEquals", true),
        ("ForAnyValue:StringEquals", false),
        ("ForAnyValue:StringNotEquals", false),
    ];
    for (operator, expected) in cases {
        assert_eq!(holds(operator, "aws:Referer", &json!("x"), &nothing), expected, "{operator}");
    }
    assert!(!holds("IpAddress", "aws:SourceIp", &json!("0.0.0.0/0"), &nothing));
    assert!(!holds("NumericLessThan", "s3:max-keys", &json!(5), &nothing));
}

#[test]
fn quantifiers_ask_of_all_values_or_of_any() {
    let two = Known(vec![(Fact::RequestObjectTagKeys, "a"), (Fact::RequestObjectTagKeys, "b")]);
    let cases = [
        ("ForAllValues:StringEquals", json!(["a", "b", "c"]), true),
        ("ForAllValues:StringEquals", json!(["a"]), false),
        ("ForAnyValue:StringEquals", json!(["a"]), true),
        ("ForAnyValue:StringEquals", json!(["c"]), false),
        ("ForAllValues:StringNotEquals", json!(["a"]), false),
        ("ForAnyValue:StringNotEquals", json!(["a"]), true),
        ("StringEquals", json!(["b"]), true),
        ("StringNotEquals", json!(["b"]), false),
    ];
    for (operator, value, expected) in cases {
        let held = holds(operator, "s3:RequestObjectTagKeys", &value, &two);
        assert_eq!(held, expected, "{operator} {value}");
    }
}

#[test]
fn conditions_that_cannot_be_understood_are_refused() {
    for (operator, key, value) in [
        ("StringSounds", "aws:Referer", json!("x")),
        ("IfExists", "aws:Referer", json!("x")),
        ("NullIfExists", "aws:Referer", json!("true")),
        ("ForNoValue:StringEquals", "aws:Referer", json!("x")),
        ("StringEquals", "aws:Unheard", json!("x")),
        ("StringEquals", "aws:Referer", json!([])),
        ("StringEquals", "aws:Referer", json!({})),
        ("StringEquals", "aws:Referer", json!("${aws:Unheard}")),
        ("NumericEquals", "s3:max-keys", json!("ten")),
        ("DateEquals", "aws:CurrentTime", json!("yesterday")),
        ("IpAddress", "aws:SourceIp", json!("10.0.0.0/99")),
        ("Bool", "aws:SecureTransport", json!("maybe")),
        ("Null", "aws:Referer", json!("maybe")),
    ] {
        assert!(Condition::parse(operator, key, &value, true).is_err(), "{operator} {key} {value}");
    }
}
