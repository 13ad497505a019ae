//! What a write asks to be kept beside its version: tags, and what holds it.

use datamesh_catalog::{Bucket, VersionMeta};
use datamesh_policy::Action;
use s3s::S3Result;

use super::S3Gateway;
use super::caller::Caller;
use super::gate::About;
use super::lock::AskedLock;
use super::tags::TagSet;

/// The headers of a write that are about what is kept beside the version.
#[derive(Debug, Default)]
pub(super) struct AskedMeta<'a> {
    /// `x-amz-tagging`.
    pub tagging: Option<&'a str>,
    /// `x-amz-object-lock-*`.
    pub lock: AskedLock<'a>,
}

/// Reads them from the input of PUT, COPY or `CreateMultipartUpload`.
macro_rules! asked_meta {
    ($input:expr) => {
        $crate::s3::beside::AskedMeta {
            tagging: $input.tagging.as_deref(),
            lock: $crate::s3::lock::AskedLock {
                mode: $input.object_lock_mode.as_ref(),
                until: $input.object_lock_retain_until_date.as_ref(),
                legal_hold: $input.object_lock_legal_hold_status.as_ref(),
            },
        }
    };
}
pub(super) use asked_meta;

impl S3Gateway {
    /// What is kept beside a version that is written now. Costs no lookup in a bucket without object lock.
    ///
    /// # Errors
    /// `InvalidTag`; `InvalidRequest` when a lock is asked for in a bucket without object lock; `InvalidArgument`;
    /// `AccessDenied` when the caller may not lock.
    pub(super) async fn new_meta(
        &self,
        caller: &Caller<'_>,
        place: (&Bucket, &str),
        asked: AskedMeta<'_>,
    ) -> S3Result<VersionMeta> {
        let (retention, legal_hold) = self.new_lock(caller, place, &asked.lock).await?;
        let tags = asked.tagging.map(TagSet::from_header).transpose()?;
        let tags = tags.and_then(|tags| tags.encode());
        if tags.is_some() {
            self.check_tagging(caller, place).await?;
        }
        Ok(VersionMeta { tags, retention, legal_hold, ..VersionMeta::NONE })
    }

    /// # Errors
    /// `AccessDenied` when the caller may not tag what it writes now.
    pub(super) async fn check_tagging(
        &self,
        caller: &Caller<'_>,
        (bucket, key): (&Bucket, &str),
    ) -> S3Result<()> {
        // The writer tags what is its own.
        let owner = caller.account().filter(|account| *account != bucket.account);
        let own = VersionMeta { owner, ..VersionMeta::NONE };
        self.gate(caller, bucket).await?.check(Action::PutObjectTagging, About::Stored(key, &own))
    }
}
