//! From rules to the document that a client reads.

use std::time::{Duration, UNIX_EPOCH};

use s3s::dto::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration, NoncurrentVersionTransition,
    Tag as TagDto, Timestamp, Transition as TransitionDto, TransitionStorageClass,
};

use crate::lifecycle::{
    Conditions, Expiration, Lifecycle, NoncurrentExpiration, NoncurrentTransition, Rule, Scope, Tag,
    Transition, When,
};

/// The rules as they were put.
pub(super) fn rules(lifecycle: &Lifecycle) -> Vec<LifecycleRule> {
    lifecycle.rules.iter().map(rule).collect()
}

fn rule(rule: &Rule) -> LifecycleRule {
    let (prefix, filter) = match &rule.scope {
        Scope::Prefix(prefix) => (Some(prefix.clone()), None),
        Scope::Filter { own, and } => (None, Some(filter(own, and.as_ref()))),
    };
    let status = if rule.enabled { ExpirationStatus::ENABLED } else { ExpirationStatus::DISABLED };
    LifecycleRule {
        id: Some(rule.id.clone()),
        status: ExpirationStatus::from_static(status),
        prefix,
        filter,
        expiration: rule.expiration.map(expiration),
        transitions: some(rule.transitions.iter().map(transition).collect()),
        noncurrent_version_expiration: rule.noncurrent_expiration.map(noncurrent_expiration),
        noncurrent_version_transitions: some(
            rule.noncurrent_transitions.iter().map(noncurrent_transition).collect(),
        ),
        abort_incomplete_multipart_upload: rule
            .abort_uploads_after_days
            .map(|days| AbortIncompleteMultipartUpload { days_after_initiation: Some(days as i32) }),
    }
}

fn filter(own: &Conditions, and: Option<&Conditions>) -> LifecycleRuleFilter {
    let and = and.map(|and| LifecycleRuleAndOperator {
        prefix: and.prefix.clone(),
        tags: some(and.tags.iter().map(tag).collect()),
        object_size_greater_than: and.larger_than.map(u64::cast_signed),
        object_size_less_than: and.smaller_than.map(u64::cast_signed),
    });
    LifecycleRuleFilter {
        and,
        prefix: own.prefix.clone(),
        tag: own.tags.first().map(tag),
        object_size_greater_than: own.larger_than.map(u64::cast_signed),
        object_size_less_than: own.smaller_than.map(u64::cast_signed),
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn tag(tag: &Tag) -> TagDto {
    TagDto { key: Some(tag.key.clone()), value: Some(tag.value.clone()) }
}

fn days_and_date(when: When) -> (Option<i32>, Option<Timestamp>) {
    match when {
        When::Days(days) => (Some(days as i32), None),
        When::DateMs(ms) => (None, Some(Timestamp::from(UNIX_EPOCH + Duration::from_millis(ms)))),
    }
}

fn expiration(expiration: Expiration) -> LifecycleExpiration {
    match expiration {
        Expiration::At(when) => {
            let (days, date) = days_and_date(when);
            LifecycleExpiration { days, date, expired_object_delete_marker: None }
        }
        Expiration::DeleteMarkers => {
            LifecycleExpiration { days: None, date: None, expired_object_delete_marker: Some(true) }
        }
    }
}

fn transition(to: &Transition) -> TransitionDto {
    let (days, date) = days_and_date(to.when);
    TransitionDto { days, date, storage_class: Some(TransitionStorageClass::from(to.class.clone())) }
}

fn noncurrent_expiration(expiration: NoncurrentExpiration) -> NoncurrentVersionExpiration {
    NoncurrentVersionExpiration {
        noncurrent_days: Some(expiration.days as i32),
        newer_noncurrent_versions: expiration.keep.map(u32::cast_signed),
    }
}

fn noncurrent_transition(to: &NoncurrentTransition) -> NoncurrentVersionTransition {
    NoncurrentVersionTransition {
        noncurrent_days: Some(to.days as i32),
        newer_noncurrent_versions: to.keep.map(u32::cast_signed),
        storage_class: Some(TransitionStorageClass::from(to.class.clone())),
    }
}
