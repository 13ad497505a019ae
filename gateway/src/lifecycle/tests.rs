//! What rules say, as tables.

use super::*;

const DAY: u64 = 100;
const SHORT: Calendar = Calendar::Shortened { day_ms: DAY };

fn rule(scope: Scope) -> Rule {
    Rule {
        id: "r".into(),
        enabled: true,
        scope,
        expiration: None,
        transitions: Vec::new(),
        noncurrent_expiration: None,
        noncurrent_transitions: Vec::new(),
        abort_uploads_after_days: None,
    }
}

fn everything() -> Rule {
    rule(Scope::Prefix(String::new()))
}

fn only(rule: Rule) -> Lifecycle {
    Lifecycle { rules: vec![rule] }
}

fn version(standing: Standing) -> Candidate<'static> {
    let subject = Subject { key: b"logs/a", tags: &[], size: Some(1000) };
    Candidate { subject, modified_ms: 0, class: "STANDARD", standing }
}

fn marker(standing: Standing) -> Candidate<'static> {
    let subject = Subject { key: b"logs/a", tags: &[], size: None };
    Candidate { subject, ..version(standing) }
}

const CURRENT: Standing = Standing::Current { only: true };

fn noncurrent(newer: u32) -> Standing {
    Standing::Noncurrent { since_ms: 5 * DAY, newer }
}

#[test]
fn a_current_version_expires_on_its_day_and_not_before() {
    let rules = only(Rule { expiration: Some(Expiration::At(When::Days(2))), ..everything() });
    assert_eq!(decide(&rules, version(CURRENT), 2 * DAY - 1, SHORT), None);
    assert_eq!(decide(&rules, version(CURRENT), 2 * DAY, SHORT), Some(Step::Expire));
    let rules = only(Rule { expiration: Some(Expiration::At(When::DateMs(7))), ..everything() });
    assert_eq!(decide(&rules, version(CURRENT), 6, SHORT), None);
    assert_eq!(decide(&rules, version(CURRENT), 7, SHORT), Some(Step::Expire));
}

#[test]
fn a_rule_that_is_disabled_or_about_others_does_nothing() {
    let expiring = Rule { expiration: Some(Expiration::At(When::Days(1))), ..everything() };
    let disabled = Rule { enabled: false, ..expiring.clone() };
    assert_eq!(decide(&only(disabled), version(CURRENT), 9 * DAY, SHORT), None);
    let elsewhere = Rule { scope: Scope::Prefix("other/".into()), ..expiring };
    assert_eq!(decide(&only(elsewhere), version(CURRENT), 9 * DAY, SHORT), None);
}

#[test]
fn every_condition_of_a_filter_must_hold() {
    let tag = |value: &str| Tag { key: "k".into(), value: value.into() };
    let tags = [tag("v"), Tag { key: "other".into(), value: "x".into() }];
    let subject = Subject { key: b"logs/a", tags: &tags, size: Some(1000) };
    let filter = |own: Conditions, and: Option<Conditions>| Scope::Filter { own, and };
    let prefix = |text: &str| Conditions { prefix: Some(text.into()), ..Conditions::default() };
    let tagged = |value: &str| Conditions { tags: vec![tag(value)], ..Conditions::default() };
    let above = |bound| Conditions { larger_than: Some(bound), ..Conditions::default() };
    let below = |bound| Conditions { smaller_than: Some(bound), ..Conditions::default() };
    for (scope, expected) in [
        (filter(Conditions::default(), None), true),
        (filter(prefix("logs/"), None), true),
        (filter(prefix("log2"), None), false),
        (filter(tagged("v"), None), true),
        (filter(tagged("w"), None), false),
        (filter(above(999), None), true),
        (filter(above(1000), None), false),
        (filter(below(1001), None), true),
        (filter(below(1000), None), false),
        (filter(prefix("logs/"), Some(tagged("v"))), true),
        (filter(prefix("logs/"), Some(tagged("w"))), false),
        (filter(prefix("x"), Some(tagged("v"))), false),
    ] {
        assert_eq!(scope.matches(subject), expected, "{scope:?}");
    }
    let marker = Subject { size: None, ..subject };
    assert!(!filter(above(0), None).matches(marker), "a delete marker has no size");
    assert!(!filter(below(1), None).matches(marker));
}

#[test]
fn noncurrent_versions_go_by_the_time_they_were_replaced_and_the_newest_of_them_stay() {
    let expiration = |keep| Some(NoncurrentExpiration { days: 2, keep });
    let rules = only(Rule { noncurrent_expiration: expiration(None), ..everything() });
    assert_eq!(decide(&rules, version(noncurrent(0)), 7 * DAY - 1, SHORT), None);
    assert_eq!(decide(&rules, version(noncurrent(0)), 7 * DAY, SHORT), Some(Step::Remove));
    assert_eq!(decide(&rules, marker(noncurrent(0)), 7 * DAY, SHORT), Some(Step::Remove));
    assert_eq!(decide(&rules, version(CURRENT), 99 * DAY, SHORT), None);
    let rules = only(Rule { noncurrent_expiration: expiration(Some(3)), ..everything() });
    assert_eq!(decide(&rules, version(noncurrent(2)), 9 * DAY, SHORT), None);
    assert_eq!(decide(&rules, version(noncurrent(3)), 9 * DAY, SHORT), Some(Step::Remove));
}

#[test]
fn a_delete_marker_goes_only_when_nothing_is_left_under_it() {
    let alone = Standing::Current { only: true };
    let above_others = Standing::Current { only: false };
    let rules = only(Rule { expiration: Some(Expiration::DeleteMarkers), ..everything() });
    assert_eq!(decide(&rules, marker(alone), 0, SHORT), Some(Step::RemoveMarker));
    assert_eq!(decide(&rules, marker(above_others), 0, SHORT), None);
    assert_eq!(decide(&rules, version(alone), 99 * DAY, SHORT), None, "it is about markers only");
    let rules = only(Rule { expiration: Some(Expiration::At(When::Days(2))), ..everything() });
    assert_eq!(decide(&rules, marker(alone), 2 * DAY - 1, SHORT), None);
    assert_eq!(decide(&rules, marker(alone), 2 * DAY, SHORT), Some(Step::RemoveMarker));
}

#[test]
fn of_several_moves_the_last_that_is_due_counts() {
    let to = |days, class: &str| Transition { when: When::Days(days), class: class.into() };
    let rules = only(Rule { transitions: vec![to(1, "WARM"), to(3, "COLD")], ..everything() });
    let step = |class, now| decide(&rules, Candidate { class, ..version(CURRENT) }, now, SHORT);
    let moves = |class: &str| Some(Step::Move(class.to_owned()));
    assert_eq!(step("STANDARD", DAY - 1), None);
    assert_eq!(step("STANDARD", DAY), moves("WARM"));
    assert_eq!(step("WARM", 2 * DAY), None);
    assert_eq!(step("WARM", 3 * DAY), moves("COLD"));
    assert_eq!(step("COLD", 9 * DAY), None, "never back");
}

#[test]
fn removal_goes_before_a_move() {
    let rules = only(Rule {
        expiration: Some(Expiration::At(When::Days(1))),
        transitions: vec![Transition { when: When::Days(1), class: "COLD".into() }],
        noncurrent_expiration: Some(NoncurrentExpiration { days: 1, keep: None }),
        noncurrent_transitions: vec![NoncurrentTransition { days: 1, keep: None, class: "COLD".into() }],
        ..everything()
    });
    assert_eq!(decide(&rules, version(CURRENT), DAY, SHORT), Some(Step::Expire));
    assert_eq!(decide(&rules, version(noncurrent(0)), 6 * DAY, SHORT), Some(Step::Remove));
}

#[test]
fn uploads_are_aborted_by_their_own_rule() {
    let rules = only(Rule { abort_uploads_after_days: Some(2), ..rule(Scope::Prefix("logs/".into())) });
    assert!(!abort_due(&rules, b"logs/a", 0, 2 * DAY - 1, SHORT));
    assert!(abort_due(&rules, b"logs/a", 0, 2 * DAY, SHORT));
    assert!(!abort_due(&rules, b"other", 0, 9 * DAY, SHORT));
}

#[test]
fn the_shown_expiry_is_the_earliest() {
    let expiring = |id: &str, days| Rule {
        id: id.into(),
        expiration: Some(Expiration::At(When::Days(days))),
        ..everything()
    };
    let rules = Lifecycle { rules: vec![expiring("late", 9), expiring("early", 2), everything()] };
    let shown = expiry(&rules, version(CURRENT).subject, 0, SHORT);
    assert_eq!(shown.map(|(at, rule)| (at, rule.id.as_str())), Some((2 * DAY, "early")));
}

#[test]
fn stored_rules_keep_their_form() {
    let stored = concat!(
        r#"{"rules":[{"id":"a","enabled":true,"scope":{"filter":{"own":{"prefix":"p","#,
        r#""tags":[{"k":"x","v":"y"}],"larger_than":1},"and":{}}},"expiration":{"at":{"days":3}},"#,
        r#""transitions":[{"when":{"date_ms":86400000},"class":"COLD"}],"noncurrent_expiration":"#,
        r#"{"days":4,"keep":5},"noncurrent_transitions":[{"days":1,"class":"COLD"}],"#,
        r#""abort_uploads_after_days":7},{"id":"b","enabled":false,"scope":{"prefix":"q"},"#,
        r#""expiration":"delete_markers"}]}"#
    );
    let lifecycle: Lifecycle = serde_json::from_str(stored).unwrap();
    assert_eq!(serde_json::to_string(&lifecycle).unwrap(), stored);
    assert_eq!(lifecycle.rules[1].expiration, Some(Expiration::DeleteMarkers));
}
