//! From the client's document to rules: what S3 refuses, with S3's codes.

use std::collections::HashSet;
use std::time::UNIX_EPOCH;

use s3s::dto::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration, NoncurrentVersionTransition,
    Tag as TagDto, Timestamp, Transition as TransitionDto, TransitionStorageClass,
};
use s3s::{S3Result, s3_error};

use crate::lifecycle::{
    Conditions, Expiration, Lifecycle, NoncurrentExpiration, NoncurrentTransition, Rule, Scope, Tag,
    Transition, When,
};
use crate::s3::StorageClasses;

const RULES_MAX: usize = 1000;
const ID_LEN_MAX: usize = 255;
/// S3 keeps at most so many newer noncurrent versions by a rule.
const KEEP_MAX: i32 = 100;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// The rules of a document.
///
/// # Errors
/// `MalformedXML`, `InvalidArgument`, `InvalidRequest` or `InvalidStorageClass`, as S3 has it.
pub(super) fn rules(document: BucketLifecycleConfiguration, classes: &StorageClasses) -> S3Result<Lifecycle> {
    if document.rules.is_empty() || document.rules.len() > RULES_MAX {
        return Err(s3_error!(MalformedXML));
    }
    let named: HashSet<String> = document.rules.iter().filter_map(|rule| rule.id.clone()).collect();
    let mut rules: Vec<Rule> = Vec::with_capacity(document.rules.len());
    let mut ids = HashSet::new();
    for (number, rule) in document.rules.into_iter().enumerate() {
        let rule = self::rule(rule, classes, || free_id(&named, number))?;
        if !ids.insert(rule.id.clone()) {
            return Err(s3_error!(
                InvalidArgument,
                "Rule ID must be unique. Found same ID for more than one rule"
            ));
        }
        rules.push(rule);
    }
    Ok(Lifecycle { rules })
}

/// An id for a rule that the client did not name.
fn free_id(taken: &HashSet<String>, number: usize) -> String {
    (number..=usize::MAX)
        .map(|number| format!("rule-{}", number + 1))
        .find(|id| !taken.contains(id))
        .unwrap_or_default()
}

fn rule(rule: LifecycleRule, classes: &StorageClasses, free_id: impl Fn() -> String) -> S3Result<Rule> {
    let enabled = match rule.status.as_str() {
        ExpirationStatus::ENABLED => true,
        ExpirationStatus::DISABLED => false,
        _ => return Err(s3_error!(MalformedXML)),
    };
    let scope = match (rule.prefix, rule.filter) {
        (Some(prefix), None) => Scope::Prefix(prefix),
        (None, Some(filter)) => scope(filter)?,
        (None, None) | (Some(_), Some(_)) => return Err(s3_error!(MalformedXML)),
    };
    let transitions = rule.transitions.unwrap_or_default();
    let noncurrent = rule.noncurrent_version_transitions.unwrap_or_default();
    let abort = rule.abort_incomplete_multipart_upload;
    let rule = Rule {
        id: rule.id.filter(|id| !id.is_empty()).unwrap_or_else(free_id),
        enabled,
        scope,
        expiration: rule.expiration.map(expiration).transpose()?,
        transitions: transitions.into_iter().map(|to| transition(to, classes)).collect::<S3Result<_>>()?,
        noncurrent_expiration: rule
            .noncurrent_version_expiration
            .as_ref()
            .map(noncurrent_expiration)
            .transpose()?,
        noncurrent_transitions: noncurrent
            .into_iter()
            .map(|to| noncurrent_transition(to, classes))
            .collect::<S3Result<_>>()?,
        abort_uploads_after_days: abort
            .map(|abort| positive(abort.days_after_initiation, "DaysAfterInitiation"))
            .transpose()?,
    };
    check(&rule)?;
    Ok(rule)
}

/// What a rule's parts must be to each other.
fn check(rule: &Rule) -> S3Result<()> {
    if rule.id.len() > ID_LEN_MAX {
        return Err(s3_error!(InvalidArgument, "ID length should not exceed allowed limit of {ID_LEN_MAX}"));
    }
    let acts = rule.expiration.is_some()
        || !rule.transitions.is_empty()
        || rule.noncurrent_expiration.is_some()
        || !rule.noncurrent_transitions.is_empty()
        || rule.abort_uploads_after_days.is_some();
    if !acts {
        return Err(s3_error!(InvalidRequest, "At least one action needs to be specified in a rule."));
    }
    if rule.abort_uploads_after_days.is_some() && rule.scope.is_about_contents() {
        let message = "AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    if rule.expiration == Some(Expiration::DeleteMarkers) && rule.scope.has_tags() {
        let message = "ExpiredObjectDeleteMarker cannot be specified with Tags.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    let expires_after = match rule.expiration {
        Some(Expiration::At(When::Days(days))) => days,
        _ => u32::MAX,
    };
    let moves_too_late = |to: &Transition| matches!(to.when, When::Days(days) if expires_after != u32::MAX && days >= expires_after);
    if rule.transitions.iter().any(moves_too_late) {
        let message = "'Days' in the Expiration action must be greater than 'Days' in the Transition action";
        return Err(s3_error!(InvalidArgument, "{message}"));
    }
    let dated = |when: When| matches!(when, When::DateMs(_));
    let mut times = rule.transitions.iter().map(|to| to.when).chain(match rule.expiration {
        Some(Expiration::At(when)) => Some(when),
        _ => None,
    });
    if let Some(first) = times.next()
        && times.any(|when| dated(when) != dated(first))
    {
        let message =
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    Ok(())
}

fn scope(filter: LifecycleRuleFilter) -> S3Result<Scope> {
    let own = Conditions {
        prefix: filter.prefix,
        tags: tags(filter.tag.into_iter().collect())?,
        larger_than: filter.object_size_greater_than.map(size).transpose()?,
        smaller_than: filter.object_size_less_than.map(size).transpose()?,
    };
    Ok(Scope::Filter { own, and: filter.and.map(and).transpose()? })
}

fn and(and: LifecycleRuleAndOperator) -> S3Result<Conditions> {
    let conditions = Conditions {
        prefix: and.prefix,
        tags: tags(and.tags.unwrap_or_default())?,
        larger_than: and.object_size_greater_than.map(size).transpose()?,
        smaller_than: and.object_size_less_than.map(size).transpose()?,
    };
    match (conditions.larger_than, conditions.smaller_than) {
        (Some(above), Some(below)) if below <= above => Err(s3_error!(
            InvalidRequest,
            "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'."
        )),
        _ => Ok(conditions),
    }
}

fn tags(tags: Vec<TagDto>) -> S3Result<Vec<Tag>> {
    let mut keys = HashSet::new();
    tags.into_iter()
        .map(|tag| {
            let (Some(key), Some(value)) = (tag.key, tag.value) else { return Err(s3_error!(MalformedXML)) };
            if !keys.insert(key.clone()) {
                return Err(s3_error!(InvalidRequest, "Duplicate Tag Keys are not allowed."));
            }
            Ok(Tag { key, value })
        })
        .collect()
}

fn size(bytes: i64) -> S3Result<u64> {
    u64::try_from(bytes).map_err(|_| s3_error!(InvalidArgument, "An object size must not be negative"))
}

fn expiration(expiration: LifecycleExpiration) -> S3Result<Expiration> {
    match (expiration.days, expiration.date, expiration.expired_object_delete_marker) {
        (Some(days), None, None | Some(false)) => {
            positive(Some(days), "Days").map(|days| Expiration::At(When::Days(days)))
        }
        (None, Some(date), None | Some(false)) => midnight(date).map(Expiration::At),
        (None, None, Some(true)) => Ok(Expiration::DeleteMarkers),
        _ => Err(s3_error!(MalformedXML)),
    }
}

fn transition(to: TransitionDto, classes: &StorageClasses) -> S3Result<Transition> {
    let when = match (to.days, to.date) {
        (Some(days), None) => When::Days(days_or_zero(Some(days), "Days")?),
        (None, Some(date)) => midnight(date)?,
        _ => return Err(s3_error!(MalformedXML)),
    };
    Ok(Transition { when, class: class(to.storage_class, classes)? })
}

fn noncurrent_expiration(expiration: &NoncurrentVersionExpiration) -> S3Result<NoncurrentExpiration> {
    let days = positive(expiration.noncurrent_days, "NoncurrentDays")?;
    Ok(NoncurrentExpiration { days, keep: keep(expiration.newer_noncurrent_versions)? })
}

fn noncurrent_transition(
    to: NoncurrentVersionTransition,
    classes: &StorageClasses,
) -> S3Result<NoncurrentTransition> {
    Ok(NoncurrentTransition {
        days: days_or_zero(to.noncurrent_days, "NoncurrentDays")?,
        keep: keep(to.newer_noncurrent_versions)?,
        class: class(to.storage_class, classes)?,
    })
}

/// A class that S3 knows and that this gateway has a backend for.
fn class(class: Option<TransitionStorageClass>, classes: &StorageClasses) -> S3Result<String> {
    let class = class.ok_or_else(|| s3_error!(MalformedXML))?;
    if !StorageClasses::is_known(class.as_str()) {
        return Err(s3_error!(MalformedXML));
    }
    classes.named(class.as_str()).map(|class| class.name.clone())
}

fn keep(keep: Option<i32>) -> S3Result<Option<u32>> {
    match keep {
        None => Ok(None),
        Some(keep @ 1..=KEEP_MAX) => Ok(Some(keep as u32)),
        Some(_) => Err(s3_error!(
            InvalidArgument,
            "'NewerNoncurrentVersions' must be a positive integer up to {KEEP_MAX}"
        )),
    }
}

fn positive(days: Option<i32>, name: &'static str) -> S3Result<u32> {
    match days {
        Some(days @ 1..) => Ok(days as u32),
        Some(_) => Err(s3_error!(InvalidArgument, "'{name}' must be a positive integer")),
        None => Err(s3_error!(MalformedXML)),
    }
}

fn days_or_zero(days: Option<i32>, name: &'static str) -> S3Result<u32> {
    match days {
        Some(days @ 0..) => Ok(days as u32),
        Some(_) => Err(s3_error!(InvalidArgument, "'{name}' must be nonnegative")),
        None => Err(s3_error!(MalformedXML)),
    }
}

fn midnight(date: Timestamp) -> S3Result<When> {
    let since = std::time::SystemTime::from(time::OffsetDateTime::from(date)).duration_since(UNIX_EPOCH);
    let ms = since.map_or(u64::MAX, |since| since.as_millis() as u64);
    if ms % DAY_MS == 0 {
        Ok(When::DateMs(ms))
    } else {
        Err(s3_error!(InvalidArgument, "'Date' must be at midnight GMT"))
    }
}
