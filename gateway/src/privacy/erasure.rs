//! Carrying out erasures that are due, in steps that may be repeated: one that was cut off goes on at its next turn.
//!
//! Each deletion is refused, in its transaction, under a legal hold on the account; versions that are locked are left as
//! they are. Then the erasure stays open and tells what stands in its way.

use std::sync::Arc;

use datamesh_accounts::{Accounts, AccountsError, Act, Digest, Erasure, ErasureError, ErasureStatus};
use datamesh_catalog::{
    AgingVersion, Bucket, BucketId, Catalog, CatalogError, DeleteCondition, DeleteVersion, LockedVersions,
    UploadListQuery,
};
use datamesh_db::DbError;
use datamesh_node::one_line;
use serde::Serialize;

use crate::admin_api::{Administrator, time_text};
use crate::s3::now_ms;

/// Erasures of a pass, and buckets and uploads per query.
const PAGE: usize = 1_000;
/// Versions per transaction.
const BATCH: usize = 200;

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ErasureReport {
    /// Accounts that were erased.
    pub erased: u64,
    /// Erasures that something stands in the way of.
    pub stopped: u64,
    /// Erasures that failed. They are tried again.
    pub failed: u64,
}

/// A step of an erasure, in the order that they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErasureStep {
    /// Nobody gets in any more.
    Access,
    /// Uploads are aborted.
    Uploads,
    /// All versions of all objects are deleted.
    Versions,
    /// The buckets are deleted.
    Buckets,
    /// The keys that everything was sealed with are destroyed.
    Keys,
    /// Who the account belonged to is forgotten.
    Person,
}

impl ErasureStep {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Access, Self::Uploads, Self::Versions, Self::Buckets, Self::Keys, Self::Person];
}

/// Why an erasure did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Something stands in its way, which may go.
    #[error("{reason}")]
    Obstacle {
        /// What.
        reason: String,
    },
    /// It was withdrawn, or does not run.
    #[error(transparent)]
    Erasure(ErasureError),
    /// The accounts failed.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(CatalogError),
}

impl From<ErasureError> for EraseError {
    fn from(error: ErasureError) -> Self {
        match error {
            ErasureError::Accounts(error) => error.into(),
            error @ ErasureError::Held { .. } => Self::Obstacle { reason: error.to_string() },
            other => Self::Erasure(other),
        }
    }
}

impl From<CatalogError> for EraseError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Db(DbError::Rejected { source }) => match source.downcast::<ErasureError>() {
                Ok(refused) => (*refused).into(),
                Err(source) => Self::Catalog(CatalogError::Db(DbError::Rejected { source })),
            },
            CatalogError::Locked => Self::Obstacle { reason: "a version was locked meanwhile".to_owned() },
            other => Self::Catalog(other),
        }
    }
}

/// Erases accounts. Cheap to clone.
#[derive(Clone)]
pub struct ErasurePass {
    /// Erasures, keys, people.
    pub accounts: Accounts,
    /// What they store.
    pub catalog: Catalog,
}

impl ErasurePass {
    /// Carries out what is due. One that fails does not hold the others up.
    pub async fn run(&self) -> Result<ErasureReport, AccountsError> {
        let mut report = ErasureReport::default();
        for erasure in self.accounts.due_erasures(PAGE).await? {
            let account = erasure.account;
            match self.carry_out(&erasure).await {
                Ok(()) => {
                    tracing::info!(%account, "erased an account");
                    report.erased += 1;
                }
                Err(EraseError::Obstacle { reason }) => {
                    tracing::warn!(%account, reason, "an erasure waits");
                    self.accounts.obstruct_erasure(&erasure, &reason).await?;
                    report.stopped += 1;
                }
                // Withdrawn at the last moment.
                Err(EraseError::Erasure(ErasureError::NotOpen { .. })) => {}
                Err(error) => {
                    tracing::warn!(%account, error = %one_line(&error), "an erasure failed");
                    report.failed += 1;
                }
            }
        }
        Ok(report)
    }

    /// Begins an erasure, or goes on with it, until it is done.
    ///
    /// # Errors
    /// [`EraseError::Obstacle`]; before the erasure has begun, nothing is lost with it.
    pub async fn carry_out(&self, erasure: &Erasure) -> Result<(), EraseError> {
        let erasure = self.begin(erasure).await?;
        for step in ErasureStep::ALL {
            self.take(step, &erasure).await?;
        }
        Ok(())
    }

    /// Begins an erasure, unless it has begun. From here on it cannot be withdrawn, so what can be known to stand in its way
    /// is looked for first.
    pub async fn begin(&self, erasure: &Erasure) -> Result<Erasure, EraseError> {
        if erasure.status != ErasureStatus::Running {
            let locked = self.catalog.locked_versions(erasure.account, now_ms()).await?;
            if locked.versions > 0 {
                return Err(EraseError::Obstacle { reason: describe(&locked) });
            }
            self.acting("privacy.begin", erasure).begin_erasure(erasure).await?;
        }
        Ok(Erasure { status: ErasureStatus::Running, ..erasure.clone() })
    }

    /// Takes one step; taking it again changes nothing.
    pub async fn take(&self, step: ErasureStep, erasure: &Erasure) -> Result<(), EraseError> {
        match step {
            ErasureStep::Access => Ok(self.accounts.erase_access(erasure).await?),
            ErasureStep::Uploads | ErasureStep::Versions | ErasureStep::Buckets => {
                for bucket in self.buckets(erasure).await? {
                    self.accounts.check_erasure(erasure).await?;
                    match step {
                        ErasureStep::Uploads => self.abort_uploads(erasure, &bucket).await?,
                        ErasureStep::Versions => self.delete_versions(erasure, bucket.id).await?,
                        _ => self.delete_bucket(&bucket).await?,
                    }
                }
                Ok(())
            }
            ErasureStep::Keys => Ok(self.accounts.erase_keys(erasure).await?),
            ErasureStep::Person => Ok(self.acting("privacy.erased", erasure).bury(erasure).await?),
        }
    }

    /// The accounts, changed in the gateway's own name.
    fn acting(&self, action: &str, erasure: &Erasure) -> Accounts {
        let target = format!("user:{}", erasure.account);
        let act = Act::new(Administrator::GATEWAY, action, target, "", Digest::NONE, false);
        self.accounts.acting(Arc::new(act))
    }

    async fn buckets(&self, erasure: &Erasure) -> Result<Vec<Bucket>, EraseError> {
        let mut buckets = Vec::<Bucket>::new();
        loop {
            let after = buckets.last().map(|last| last.name.clone());
            let page = self.catalog.list_buckets(erasure.account, after.as_deref(), PAGE).await?;
            if page.is_empty() {
                return Ok(buckets);
            }
            buckets.extend(page);
        }
    }

    async fn abort_uploads(&self, erasure: &Erasure, bucket: &Bucket) -> Result<(), EraseError> {
        let query = UploadListQuery::all(bucket.id, PAGE);
        loop {
            let page = self.catalog.list_uploads(query.clone()).await?;
            if page.uploads.is_empty() {
                return Ok(());
            }
            for upload in &page.uploads {
                let hook = self.accounts.erasure_hook(erasure);
                match self.catalog.abort_upload(bucket.id, &upload.key, upload.id, now_ms(), hook).await {
                    // Completed meanwhile: then it is a version, which comes next.
                    Ok(()) | Err(CatalogError::NoSuchUpload) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn delete_versions(&self, erasure: &Erasure, bucket: BucketId) -> Result<(), EraseError> {
        loop {
            let versions = self.catalog.aging_versions(bucket, None, BATCH).await?;
            if versions.is_empty() {
                return Ok(());
            }
            let now_ms = now_ms();
            let delete = |version: &AgingVersion| DeleteVersion {
                bucket,
                key: version.key.clone(),
                version: Some(version.id),
                condition: DeleteCondition::NONE,
                bypass_governance: true,
                now_ms,
            };
            let deletes = versions.iter().map(delete).collect();
            let hook = self.accounts.erasure_hook(erasure);
            match self.catalog.delete_versions(deletes, hook).await {
                Ok(outcomes) => outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))?,
                Err(CatalogError::NoSuchBucket) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn delete_bucket(&self, bucket: &Bucket) -> Result<(), EraseError> {
        match self.catalog.delete_bucket(bucket.id).await {
            Ok(()) | Err(CatalogError::NoSuchBucket) => Ok(()),
            Err(CatalogError::BucketNotEmpty) => {
                let reason = format!("bucket {} was written to meanwhile", bucket.name);
                Err(EraseError::Obstacle { reason })
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn describe(locked: &LockedVersions) -> String {
    let LockedVersions { versions, legal_holds, until_ms } = locked;
    let until = until_ms.and_then(time_text);
    let until = until.map_or_else(String::new, |until| format!(", the last retention ends at {until}"));
    format!("{versions} versions are locked: {legal_holds} under a legal hold of their own{until}")
}
