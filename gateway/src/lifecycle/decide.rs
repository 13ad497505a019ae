//! What is due for one version.
//!
//! Where several rules apply, removal for good goes before a move, and a move before a delete marker, as in S3. Of
//! several moves the one that was due last counts, so that a version never moves back along its rules.

use super::calendar::Calendar;
use super::filter::{Scope, Subject};
use super::rule::{Expiration, Lifecycle, Rule, When};

/// Where a version stands among its key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the key's newest.
    Current {
        /// It is also the only one.
        only: bool,
    },
    /// A newer one has replaced it.
    Noncurrent {
        /// When that was written.
        since_ms: u64,
        /// How many noncurrent versions of the key are newer.
        newer: u32,
    },
}

/// A version that rules are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// What the rules' conditions look at. Its size is `None` for a delete marker.
    pub subject: Subject<'a>,
    /// When it was written, milliseconds since 1970.
    pub modified_ms: u64,
    /// Its storage class.
    pub class: &'a str,
    /// Its place.
    pub standing: Standing,
}

impl Candidate<'_> {
    const fn is_delete_marker(&self) -> bool {
        self.subject.size.is_none()
    }
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The current version expires: it is deleted as its bucket's versioning says.
    Expire,
    /// The noncurrent version is removed for good.
    Remove,
    /// The delete marker, under which nothing is left, is removed.
    RemoveMarker,
    /// It moves to this storage class.
    Move(String),
}

/// What is due for a version now, if anything.
pub fn decide(
    lifecycle: &Lifecycle,
    candidate: Candidate<'_>,
    now_ms: u64,
    calendar: Calendar,
) -> Option<Step> {
    let rules = || applying(lifecycle, candidate.subject);
    let due = |when, since_ms| due_ms(when, since_ms, calendar) <= now_ms;
    match candidate.standing {
        Standing::Current { only } if candidate.is_delete_marker() => {
            let expires = |rule: &Rule| match rule.expiration {
                Some(Expiration::DeleteMarkers) => true,
                Some(Expiration::At(when)) => due(when, candidate.modified_ms),
                None => false,
            };
            (only && rules().any(expires)).then_some(Step::RemoveMarker)
        }
        Standing::Current { .. } => {
            let expires = |rule: &Rule| matches!(rule.expiration, Some(Expiration::At(when)) if due(when, candidate.modified_ms));
            if rules().any(expires) {
                return Some(Step::Expire);
            }
            let moves = rules().flat_map(|rule| &rule.transitions);
            let moves = moves.map(|to| (due_ms(to.when, candidate.modified_ms, calendar), to.class.as_str()));
            last_move(moves, candidate.class, now_ms)
        }
        Standing::Noncurrent { since_ms, newer } => {
            let kept = |keep: Option<u32>| keep.is_some_and(|keep| newer < keep);
            let expires = |rule: &Rule| {
                let expiration = rule.noncurrent_expiration.filter(|expiration| !kept(expiration.keep));
                expiration.is_some_and(|expiration| due(When::Days(expiration.days), since_ms))
            };
            if rules().any(expires) {
                return Some(Step::Remove);
            }
            if candidate.is_delete_marker() {
                return None;
            }
            let moves = rules().flat_map(|rule| &rule.noncurrent_transitions).filter(|to| !kept(to.keep));
            let moves = moves.map(|to| (calendar.due_ms(since_ms, to.days), to.class.as_str()));
            last_move(moves, candidate.class, now_ms)
        }
    }
}

/// Whether an upload of `key`, begun at `begun_ms`, is to be aborted.
pub fn abort_due(lifecycle: &Lifecycle, key: &[u8], begun_ms: u64, now_ms: u64, calendar: Calendar) -> bool {
    let subject = Subject { key, tags: &[], size: Some(0) };
    let days = |rule: &Rule| rule.abort_uploads_after_days;
    applying(lifecycle, subject).filter_map(days).any(|days| calendar.due_ms(begun_ms, days) <= now_ms)
}

/// When a current version expires, and by which rule: the earliest of those that apply.
pub fn expiry<'l>(
    lifecycle: &'l Lifecycle,
    subject: Subject<'_>,
    modified_ms: u64,
    calendar: Calendar,
) -> Option<(u64, &'l Rule)> {
    let at = |rule: &'l Rule| match rule.expiration {
        Some(Expiration::At(when)) => Some((due_ms(when, modified_ms, calendar), rule)),
        Some(Expiration::DeleteMarkers) | None => None,
    };
    applying(lifecycle, subject).filter_map(at).min_by_key(|(due_ms, _)| *due_ms)
}

fn applying<'l>(lifecycle: &'l Lifecycle, subject: Subject<'_>) -> impl Iterator<Item = &'l Rule> {
    let applies = move |scope: &Scope| scope.matches(subject);
    lifecycle.rules.iter().filter(move |rule| rule.enabled && applies(&rule.scope))
}

fn due_ms(when: When, since_ms: u64, calendar: Calendar) -> u64 {
    match when {
        When::Days(days) => calendar.due_ms(since_ms, days),
        When::DateMs(date_ms) => date_ms,
    }
}

/// The class of the move that was due last, unless the version is there already.
fn last_move<'a>(moves: impl Iterator<Item = (u64, &'a str)>, class: &str, now_ms: u64) -> Option<Step> {
    let (_, to) = moves.filter(|(due_ms, _)| *due_ms <= now_ms).max_by_key(|(due_ms, _)| *due_ms)?;
    (to != class).then(|| Step::Move(to.to_owned()))
}
