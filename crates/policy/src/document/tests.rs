#![allow(clippy::needless_pass_by_value, reason = "documents read better in place")]

use std::borrow::Cow;

use datamesh_types::AccountId;
use serde_json::json;

use super::*;
use crate::facts::{Fact, NoFacts};

const ME: AccountId = AccountId([1; 16]);

fn statement(changes: Value) -> Value {
    let mut statement = json!({
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*",
    });
    let (Value::Object(fields), Value::Object(changes)) = (&mut statement, changes) else { unreachable!() };
    for (field, value) in changes {
        if value.is_null() {
            fields.remove(&field)
        } else {
            fields.insert(field, value)
        };
    }
    statement
}

fn policy(statements: Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn parse(document: &Value) -> Result<BucketPolicy, PolicyError> {
    BucketPolicy::parse(&document.to_string(), "bucket", false)
}

fn says(document: &Value, action: Action, resource: ResourceName<'_>) -> Verdict {
    parse(document).unwrap().policy().evaluate(Asker::Account(ME, "me"), action, resource, &NoFacts)
}

const KEY: ResourceName<'_> = ResourceName::Object("bucket", "a/b");
const BUCKET: ResourceName<'_> = ResourceName::Bucket("bucket");

#[test]
fn what_is_not_understood_is_refused() {
    let cases = [
        json!([]),
        json!({"Version": "2012-10-17"}),
        json!({"Version": "2020-01-01", "Statement": [statement(json!({}))]}),
        json!({"Version": "2012-10-17", "Statement": [], "Id": "x"}),
        json!({"Version": "2012-10-17", "Statement": [statement(json!({}))], "Id": 1}),
        json!({"Version": "2012-10-17", "Statement": [statement(json!({}))], "Statements": []}),
        policy(json!("Allow")),
        policy(json!([statement(json!({"Effect": "allow"}))])),
        policy(json!([statement(json!({"Effect": null}))])),
        policy(json!([statement(json!({"Sid": 7}))])),
        policy(json!([statement(json!({"Principal": null}))])),
        policy(json!([statement(json!({"Principal": null, "NotPrincipal": "*"}))])),
        policy(json!([statement(json!({"NotPrincipal": "*"}))])),
        policy(json!([statement(json!({"Action": null}))])),
        policy(json!([statement(json!({"Action": "s3:Nothing"}))])),
        policy(json!([statement(json!({"Action": "ec2:*"}))])),
        policy(json!([statement(json!({"Action": "s3"}))])),
        policy(json!([statement(json!({"Action": []}))])),
        policy(json!([statement(json!({"NotAction": "s3:*"}))])),
        policy(json!([statement(json!({"Resource": null}))])),
        policy(json!([statement(json!({"Resource": "bucket/*"}))])),
        policy(json!([statement(json!({"Resource": "arn:aws:s3:::other/*"}))])),
        policy(json!([statement(json!({"Resource": "arn:aws:s3:::"}))])),
        policy(json!([statement(json!({"Condition": []}))])),
        policy(json!([statement(json!({"Condition": {"StringEquals": "x"}}))])),
        policy(json!([statement(json!({"Condition": {"Unheard": {"aws:Referer": "x"}}}))])),
        policy(json!([statement(json!({"Comment": "x"}))])),
    ];
    for case in cases {
        assert!(parse(&case).is_err(), "{case}");
    }
    assert_eq!(BucketPolicy::parse("{", "bucket", false), Err(PolicyError::NotJson));
    let long = policy(json!([statement(json!({"Sid": "x".repeat(Policy::BUCKET_LEN_MAX)}))]));
    assert!(matches!(parse(&long), Err(PolicyError::TooLong { .. })));
    assert!(parse(&policy(statement(json!({})))).is_ok(), "one statement needs no list");
}

#[test]
fn statements_are_about_their_actions_and_resources_alone() {
    let cases = [
        (json!({}), Action::GetObject, KEY, Verdict::Allowed),
        (json!({}), Action::GetObjectVersion, KEY, Verdict::Silent),
        (json!({}), Action::GetObject, BUCKET, Verdict::Silent),
        (json!({"Action": "S3:getobject*"}), Action::GetObjectVersion, KEY, Verdict::Allowed),
        (json!({"Action": ["s3:PutObject", "*"]}), Action::DeleteObject, KEY, Verdict::Allowed),
        (json!({"Action": null, "NotAction": "s3:Get*"}), Action::PutObject, KEY, Verdict::Allowed),
        (json!({"Action": null, "NotAction": "s3:Get*"}), Action::GetObject, KEY, Verdict::Silent),
        (json!({"Resource": "arn:aws:s3:::bucket"}), Action::GetObject, KEY, Verdict::Silent),
        (json!({"Resource": "arn:aws:s3:::buck*"}), Action::GetObject, KEY, Verdict::Allowed),
        (json!({"Resource": "*"}), Action::GetObject, KEY, Verdict::Allowed),
        (json!({"Resource": "arn:aws:s3:::bucket/a/?"}), Action::GetObject, KEY, Verdict::Allowed),
        (
            json!({"Resource": null, "NotResource": "arn:aws:s3:::bucket/a/*"}),
            Action::GetObject,
            KEY,
            Verdict::Silent,
        ),
        (
            json!({"Resource": null, "NotResource": "arn:aws:s3:::bucket/c/*"}),
            Action::GetObject,
            KEY,
            Verdict::Allowed,
        ),
        (json!({"Effect": "Deny"}), Action::GetObject, KEY, Verdict::Denied),
        (
            json!({"Effect": "Deny", "Principal": null, "NotPrincipal": {"AWS": ME.to_string()}}),
            Action::GetObject,
            KEY,
            Verdict::Silent,
        ),
    ];
    for (changes, action, resource, expected) in cases {
        assert_eq!(
            says(&policy(json!([statement(changes.clone())])), action, resource),
            expected,
            "{changes}"
        );
    }
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    let allow = statement(json!({}));
    let deny = statement(json!({"Effect": "Deny", "Resource": "arn:aws:s3:::bucket/a/*"}));
    for statements in [json!([allow, deny]), json!([deny, allow])] {
        let document = policy(statements);
        assert_eq!(says(&document, Action::GetObject, KEY), Verdict::Denied);
        let other = ResourceName::Object("bucket", "b");
        assert_eq!(says(&document, Action::GetObject, other), Verdict::Allowed);
    }
}

/// A request of a named user.
struct User(&'static str);

impl Facts for User {
    fn values(&self, fact: &Fact) -> Vec<Cow<'_, str>> {
        if *fact == Fact::UserName { vec![self.0.into()] } else { Vec::new() }
    }
}

#[test]
fn a_variable_without_a_value_denies_but_never_allows() {
    let home = json!({"Resource": "arn:aws:s3:::bucket/${aws:username}/*"});
    let evaluate = |changes: &Value, facts: &dyn Facts| {
        let parsed = parse(&policy(json!([statement(changes.clone())]))).unwrap();
        parsed.policy().evaluate(Asker::Account(ME, "me"), Action::GetObject, KEY, facts)
    };
    assert_eq!(evaluate(&home, &User("a")), Verdict::Allowed);
    assert_eq!(evaluate(&home, &User("*")), Verdict::Silent);
    assert_eq!(evaluate(&home, &NoFacts), Verdict::Silent);
    let deny = json!({"Effect": "Deny", "Resource": "arn:aws:s3:::bucket/${aws:username}/*"});
    assert_eq!(evaluate(&deny, &User("b")), Verdict::Silent);
    assert_eq!(evaluate(&deny, &NoFacts), Verdict::Denied);
}

#[test]
fn public_means_for_everybody_without_naming_who() {
    let cases = [
        (json!({}), true),
        (json!({"Principal": {"AWS": "*"}}), true),
        (json!({"Effect": "Deny"}), false),
        (json!({"Principal": {"AWS": "arn:aws:iam::tenant:root"}}), false),
        (json!({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}), false),
        (json!({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}), true),
        (json!({"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}), true),
        (json!({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}), false),
        (json!({"Condition": {"StringLike": {"aws:PrincipalArn": "*"}}}), true),
        (json!({"Condition": {"StringEqualsIfExists": {"aws:PrincipalAccount": "1"}}}), true),
        (json!({"Condition": {"StringLike": {"aws:Referer": "https://example.org/*"}}}), true),
    ];
    for (changes, expected) in cases {
        let document = policy(json!([statement(changes.clone())]));
        assert_eq!(parse(&document).unwrap().is_public(), expected, "{changes}");
    }
}

#[test]
fn the_policy_of_a_key_names_no_principal() {
    let document =
        policy(json!([statement(json!({"Principal": null, "Action": ["s3:Get*", "iam:Anything"]}))]));
    let parsed = Policy::for_identity(&document.to_string(), Policy::KEY_LEN_MAX).unwrap();
    assert_eq!(parsed.evaluate(Asker::Account(ME, "me"), Action::GetObject, KEY, &NoFacts), Verdict::Allowed);
    let with_principal = policy(json!([statement(json!({}))])).to_string();
    assert!(Policy::for_identity(&with_principal, Policy::KEY_LEN_MAX).is_err());
    assert!(Policy::for_identity(&document.to_string(), 10).is_err());
}

#[test]
fn a_stored_policy_comes_back_with_its_text_unchanged() {
    let text = format!(" {}\n", policy(json!([statement(json!({}))])));
    let parsed = BucketPolicy::parse(&text, "bucket", true).unwrap();
    let stored: BucketPolicy = serde_json::from_str(&serde_json::to_string(&parsed).unwrap()).unwrap();
    assert_eq!(stored, parsed);
    assert_eq!(stored.text(), text);
    assert!(stored.binds_owner());
}
