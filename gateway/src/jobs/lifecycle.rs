//! Ageing: what the buckets' lifecycle rules say is done.
//!
//! A pass walks the versions of every bucket that has rules, in key order, and takes the steps that are due. Each
//! step is bound to the version that was judged, so that a client's concurrent write wins, and a locked version
//! stays, as does everything of an account under a legal hold. A pass may run twice, and may die anywhere.

use datamesh_accounts::{Accounts, AccountsError};
use datamesh_catalog::{
    AgeVersion, AgingStep, AgingVersion, Bucket, BucketId, Catalog, CatalogError, ConfigKind, Message,
    UploadListQuery,
};
use datamesh_db::DbError;
use datamesh_node::one_line;
use futures::{StreamExt, stream};
use serde::Serialize;

use super::relocate::Mover;
use super::{JobError, Jobs, configuration, now_ms};
use crate::events::{Change, EventSource, Notifications, messages};
use crate::lifecycle::{
    Calendar, Candidate, Lifecycle, Rule, Standing, Step, Subject, Tag, abort_due, decide,
};
use crate::row_key::RowKey;

/// Buckets, versions and uploads per query.
const PAGE: usize = 1000;
/// Steps under way at the same time.
const STEPS_AT_ONCE: usize = 8;

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LifecycleReport {
    /// Current versions that expired.
    pub expired: u64,
    /// Versions and delete markers that were removed for good.
    pub removed: u64,
    /// Versions that moved to another storage class.
    pub moved: u64,
    /// Uploads that were aborted.
    pub uploads_aborted: u64,
    /// Steps that failed, and buckets that could not be read; both are tried again.
    pub failed: u64,
}

/// Lets versions age. Cheap to clone.
#[derive(Clone)]
pub struct LifecyclePass {
    /// Buckets, rules, versions.
    pub catalog: Catalog,
    /// Gets quota back for what goes.
    pub accounts: Accounts,
    /// Moves versions.
    pub mover: Mover,
    /// How days are counted.
    pub calendar: Calendar,
}

impl Jobs {
    pub(super) async fn leased_lifecycle(&self) -> Result<(), JobError> {
        self.under_lease("lifecycle", self.age(now_ms())).await.map(drop)
    }

    /// One pass over everything, now: waits for a pass that another gateway runs.
    pub async fn age_now(&self) -> Result<LifecycleReport, JobError> {
        self.when_leased("lifecycle", self.age(now_ms())).await
    }

    /// One pass over everything, as if it were `now_ms`.
    pub async fn age(&self, now_ms: u64) -> Result<LifecycleReport, JobError> {
        let _turn = self.inner.ageing.lock().await;
        let report = self.inner.lifecycle.run(now_ms).await?;
        if report != LifecycleReport::default() {
            let LifecycleReport { expired, removed, moved, uploads_aborted, failed } = report;
            tracing::info!(expired, removed, moved, uploads_aborted, failed, "applied lifecycle rules");
        }
        Ok(report)
    }
}

impl LifecyclePass {
    /// Takes every step that is due at `now_ms`. A bucket that fails is counted and does not hold the others up.
    pub async fn run(&self, now_ms: u64) -> Result<LifecycleReport, JobError> {
        let mut report = LifecycleReport::default();
        let mut after = BucketId(0);
        loop {
            let buckets = self.catalog.buckets_configured(ConfigKind::Lifecycle, after, PAGE).await?;
            let Some(last) = buckets.last() else { return Ok(report) };
            after = last.id;
            for bucket in &buckets {
                if let Err(error) = self.run_bucket(bucket, now_ms, &mut report).await {
                    tracing::warn!(bucket = bucket.name, error = %one_line(&error), "could not apply lifecycle rules");
                    report.failed += 1;
                }
            }
        }
    }

    async fn run_bucket(
        &self,
        bucket: &Bucket,
        now_ms: u64,
        report: &mut LifecycleReport,
    ) -> Result<(), JobError> {
        let rules: Option<Lifecycle> = configuration(&self.catalog, bucket, ConfigKind::Lifecycle).await?;
        let Some(rules) = rules else { return Ok(()) };
        let any = |wanted: fn(&Rule) -> bool| rules.rules.iter().any(|rule| rule.enabled && wanted(rule));
        if any(|rule| rule.abort_uploads_after_days.is_some()) {
            self.abort_uploads(bucket, &rules, now_ms, report).await?;
        }
        let about_versions = |rule: &Rule| {
            rule.expiration.is_some()
                || rule.noncurrent_expiration.is_some()
                || !rule.transitions.is_empty()
                || !rule.noncurrent_transitions.is_empty()
        };
        if any(about_versions) { self.age_versions(bucket, &rules, now_ms, report).await } else { Ok(()) }
    }

    async fn age_versions(
        &self,
        bucket: &Bucket,
        rules: &Lifecycle,
        now_ms: u64,
        report: &mut LifecycleReport,
    ) -> Result<(), JobError> {
        let notifications: Option<Notifications> =
            configuration(&self.catalog, bucket, ConfigKind::Notification).await?;
        let mut walk = Walk::default();
        let mut after = None;
        loop {
            // One more than a page, to know whether a version is its key's last.
            let mut page = self.catalog.aging_versions(bucket.id, after, PAGE + 1).await?;
            let more = page.len() > PAGE;
            let mut due = Vec::new();
            for (position, version) in page.iter().enumerate().take(PAGE) {
                let is_last = page.get(position + 1).is_none_or(|next| next.key != version.key);
                let standing = walk.standing(version, is_last);
                if let Some(step) = self.judge(rules, version, standing, now_ms) {
                    due.push((position, step));
                }
            }
            self.take_all(bucket, &page, due, notifications.as_ref(), now_ms, report).await;
            if !more {
                return Ok(());
            }
            page.truncate(PAGE);
            after = page.pop().map(|last| (last.key, last.sequence));
        }
    }

    fn judge(
        &self,
        rules: &Lifecycle,
        version: &AgingVersion,
        standing: Standing,
        now_ms: u64,
    ) -> Option<Step> {
        let tags: Vec<Tag> = version.tags.as_deref().map(crate::lifecycle::stored_tags).unwrap_or_default();
        let size = (!version.delete_marker).then_some(version.size);
        let subject = Subject { key: &version.key, tags: &tags, size };
        let class = &version.storage_class;
        let candidate = Candidate { subject, modified_ms: version.modified_ms, class, standing };
        decide(rules, candidate, now_ms, self.calendar)
    }

    /// Takes the steps that are due for versions of a page, by their positions.
    async fn take_all(
        &self,
        bucket: &Bucket,
        page: &[AgingVersion],
        due: Vec<(usize, Step)>,
        notifications: Option<&Notifications>,
        now_ms: u64,
        report: &mut LifecycleReport,
    ) {
        let take = |(position, step): (usize, Step)| {
            let version = &page[position];
            async move { (version, self.take(bucket, version, &step, notifications, now_ms).await, step) }
        };
        let steps: Vec<_> = due.into_iter().map(take).collect();
        let mut steps = stream::iter(steps).buffer_unordered(STEPS_AT_ONCE);
        while let Some((version, taken, step)) = steps.next().await {
            count(report, bucket, version, &step, taken);
        }
    }

    /// Whether there was still anything to do.
    async fn take(
        &self,
        bucket: &Bucket,
        version: &AgingVersion,
        step: &Step,
        notifications: Option<&Notifications>,
        now_ms: u64,
    ) -> Result<bool, JobError> {
        let step = match step {
            Step::Move(class) => {
                let messages = self.messages(bucket, version, Some(class), notifications, now_ms).await?;
                return self.mover.relocate(bucket, version, class, messages, now_ms).await;
            }
            Step::Expire => AgingStep::ExpireCurrent,
            Step::Remove => AgingStep::RemoveNoncurrent,
            Step::RemoveMarker => AgingStep::RemoveMarker,
        };
        let messages = self.messages(bucket, version, None, notifications, now_ms).await?;
        let catalog = self.catalog.announcing(messages);
        let (key, sequence) = (version.key.clone(), version.sequence);
        let age = AgeVersion { bucket: bucket.id, key, sequence, step, now_ms };
        match catalog.age_version(age, self.accounts.deletion_hook()).await {
            // Its time comes when the lock ends, or the legal hold.
            Err(error) if matches!(error, CatalogError::Locked) || is_held(&error) => Ok(false),
            taken => Ok(taken?),
        }
    }

    /// What is told of a version's move to `class`, or of its expiry.
    async fn messages(
        &self,
        bucket: &Bucket,
        version: &AgingVersion,
        class: Option<&str>,
        notifications: Option<&Notifications>,
        now_ms: u64,
    ) -> Result<Vec<Message>, JobError> {
        let Some(notifications) = notifications else { return Ok(Vec::new()) };
        let rows = RowKey::of(self.accounts.keyring(), bucket).await?;
        let messages = if let Some(class) = class {
            let etag = rows.open_tag(&version.etag)?;
            let moved = Change::moved(&version.key, &etag, class);
            messages(notifications, bucket, &source(), &[moved], &rows, now_ms)
        } else {
            let expiry = Change::expiry(&version.key);
            messages(notifications, bucket, &source(), &expiry, &rows, now_ms)
        };
        Ok(messages?)
    }

    async fn abort_uploads(
        &self,
        bucket: &Bucket,
        rules: &Lifecycle,
        now_ms: u64,
        report: &mut LifecycleReport,
    ) -> Result<(), JobError> {
        let mut query = UploadListQuery::all(bucket.id, PAGE);
        loop {
            let page = self.catalog.list_uploads(query.clone()).await?;
            for upload in &page.uploads {
                if !abort_due(rules, &upload.key, upload.created_at_ms, now_ms, self.calendar) {
                    continue;
                }
                let hook = self.accounts.deletion_hook();
                match self.catalog.abort_upload(bucket.id, &upload.key, upload.id, now_ms, hook).await {
                    Ok(()) => report.uploads_aborted += 1,
                    // Completed or aborted by its owner meanwhile.
                    Err(CatalogError::NoSuchUpload) => {}
                    Err(error) if is_held(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let Some((after, after_upload)) = page.next else { return Ok(()) };
            (query.after, query.after_upload) = (after, after_upload);
        }
    }
}

/// Whether a legal hold of the account forbids it.
fn is_held(error: &CatalogError) -> bool {
    let CatalogError::Db(DbError::Rejected { source }) = error else { return false };
    matches!(source.downcast_ref(), Some(AccountsError::Held { .. }))
}

/// Who acts, in messages about it.
fn source() -> EventSource {
    EventSource { principal: "lifecycle".to_owned(), ..EventSource::default() }
}

fn count(
    report: &mut LifecycleReport,
    bucket: &Bucket,
    version: &AgingVersion,
    step: &Step,
    taken: Result<bool, JobError>,
) {
    let counter = match (&taken, step) {
        (Ok(false), _) => return,
        (Ok(true), Step::Expire) => &mut report.expired,
        (Ok(true), Step::Remove | Step::RemoveMarker) => &mut report.removed,
        (Ok(true), Step::Move(_)) => &mut report.moved,
        (Err(_), _) => &mut report.failed,
    };
    *counter += 1;
    if let Err(error) = taken {
        let key = String::from_utf8_lossy(&version.key).into_owned();
        tracing::warn!(bucket = bucket.name, key, ?step, error = %one_line(&error), "a lifecycle step failed");
    }
}

/// Follows versions in the order of [`Catalog::aging_versions`] and tells where each stands among its key's.
#[derive(Debug, Default)]
struct Walk {
    key: Vec<u8>,
    /// When the version before was written: that is when this one became noncurrent.
    newer_ms: u64,
    /// How many of the key's versions came before.
    passed: u32,
}

impl Walk {
    fn standing(&mut self, version: &AgingVersion, is_last: bool) -> Standing {
        if self.passed == 0 || self.key != version.key {
            self.key.clone_from(&version.key);
            (self.newer_ms, self.passed) = (version.modified_ms, 1);
            return Standing::Current { only: is_last };
        }
        let standing = Standing::Noncurrent { since_ms: self.newer_ms, newer: self.passed - 1 };
        self.newer_ms = version.modified_ms;
        self.passed += 1;
        standing
    }
}
