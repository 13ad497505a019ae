//! The object lock operations: of buckets, and of single versions.

use datamesh_catalog::{Bucket, ConfigKind, Retention, Version};
use datamesh_policy::Action;
use s3s::dto::{
    GetObjectLegalHoldInput, GetObjectLegalHoldOutput, GetObjectLockConfigurationInput,
    GetObjectLockConfigurationOutput, GetObjectRetentionInput, GetObjectRetentionOutput, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode, PutObjectLegalHoldInput,
    PutObjectLegalHoldOutput, PutObjectLockConfigurationInput, PutObjectLockConfigurationOutput,
    PutObjectRetentionInput, PutObjectRetentionOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::gate::About;
use super::lock::{Mode, ObjectLock, future, no_lock_on_bucket, parse_hold};
use super::stated::Stated;
use super::{S3Gateway, errors, now_ms, timestamp, unconfigured};

impl S3Gateway {
    /// A version, as [`S3Gateway::version`] finds it, in a bucket that has object lock.
    ///
    /// # Errors
    /// `InvalidRequest` when it has none.
    async fn lockable(
        &self,
        caller: &Caller<'_>,
        name: (&str, &str),
        id: Option<&str>,
        action: Action,
        expected_owner: Option<&str>,
    ) -> S3Result<(Bucket, Version)> {
        let (bucket, version) = self.version(caller, name, id, action, expected_owner).await?;
        if bucket.configured.contains(ConfigKind::ObjectLock) {
            Ok((bucket, version))
        } else {
            Err(no_lock_on_bucket())
        }
    }

    pub(super) async fn put_object_lock_configuration(
        &self,
        req: S3Request<PutObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<PutObjectLockConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self
            .bucket(&caller, &input.bucket, Action::PutBucketObjectLockConfiguration, expected_owner)
            .await?;
        let config = input.object_lock_configuration.ok_or_else(|| s3_error!(MalformedXML))?;
        let lock = ObjectLock::from_dto(config)?;
        self.set_config(&bucket, ConfigKind::ObjectLock, Some(&lock)).await?;
        Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
    }

    pub(super) async fn get_object_lock_configuration(
        &self,
        req: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self
            .bucket(&caller, &input.bucket, Action::GetBucketObjectLockConfiguration, expected_owner)
            .await?;
        let lock = self.config::<ObjectLock>(&bucket, ConfigKind::ObjectLock).await?;
        let lock = lock.ok_or_else(|| s3_error!(ObjectLockConfigurationNotFoundError))?;
        let object_lock_configuration = Some(lock.to_dto());
        Ok(S3Response::new(GetObjectLockConfigurationOutput { object_lock_configuration }))
    }

    pub(super) async fn put_object_retention(
        &self,
        req: S3Request<PutObjectRetentionInput>,
    ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let caller = caller.stating(input.retention.as_ref().map(Stated::retention).unwrap_or_default());
        let name = (input.bucket.as_str(), input.key.as_str());
        let (id, expected_owner) = (input.version_id.as_deref(), input.expected_bucket_owner.as_deref());
        let (bucket, version) =
            self.lockable(&caller, name, id, Action::PutObjectRetention, expected_owner).await?;
        let now_ms = now_ms();
        let asked = input.retention.ok_or_else(|| s3_error!(MalformedXML))?;
        let retention = match (asked.mode, asked.retain_until_date) {
            (None, None) => None,
            (Some(mode), Some(until)) => {
                let mode = Mode::parse(mode.as_str()).ok_or_else(|| s3_error!(MalformedXML))?;
                Some(Retention { mode: mode.stored(), until_ms: future(&until, now_ms)? })
            }
            _ => return Err(s3_error!(MalformedXML)),
        };
        // Who may not bypass is still not refused what needs no bypass.
        let bypass = input.bypass_governance_retention == Some(true)
            && self
                .gate(&caller, &bucket)
                .await?
                .allows(Action::BypassGovernanceRetention, About::Stored(&input.key, &version.meta))?;
        let set = self.catalog.set_version_retention(&version, retention, bypass, now_ms).await;
        set.map_err(errors::catalog)?;
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    pub(super) async fn get_object_retention(
        &self,
        req: S3Request<GetObjectRetentionInput>,
    ) -> S3Result<S3Response<GetObjectRetentionOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let (id, expected_owner) = (input.version_id.as_deref(), input.expected_bucket_owner.as_deref());
        let (_, version) =
            self.lockable(&caller, name, id, Action::GetObjectRetention, expected_owner).await?;
        let retention = version.meta.retention.ok_or_else(no_lock)?;
        Ok(S3Response::new(GetObjectRetentionOutput {
            retention: Some(ObjectLockRetention {
                mode: Some(ObjectLockRetentionMode::from_static(Mode::of(retention.mode).name())),
                retain_until_date: Some(timestamp(retention.until_ms)),
            }),
        }))
    }

    pub(super) async fn put_object_legal_hold(
        &self,
        req: S3Request<PutObjectLegalHoldInput>,
    ) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let status = input.legal_hold.and_then(|hold| hold.status);
        let caller = caller.stating(Stated::legal_hold(status.as_ref()));
        let name = (input.bucket.as_str(), input.key.as_str());
        let (id, expected_owner) = (input.version_id.as_deref(), input.expected_bucket_owner.as_deref());
        let (_, version) =
            self.lockable(&caller, name, id, Action::PutObjectLegalHold, expected_owner).await?;
        let held = status.as_ref().and_then(parse_hold).ok_or_else(|| s3_error!(MalformedXML))?;
        self.catalog.set_version_legal_hold(&version, held).await.map_err(errors::catalog)?;
        Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
    }

    /// A version that was never held answers like one whose hold was lifted.
    pub(super) async fn get_object_legal_hold(
        &self,
        req: S3Request<GetObjectLegalHoldInput>,
    ) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let (id, expected_owner) = (input.version_id.as_deref(), input.expected_bucket_owner.as_deref());
        let (_, version) =
            self.lockable(&caller, name, id, Action::GetObjectLegalHold, expected_owner).await?;
        let status = if version.meta.legal_hold {
            ObjectLockLegalHoldStatus::ON
        } else {
            ObjectLockLegalHoldStatus::OFF
        };
        let status = Some(ObjectLockLegalHoldStatus::from_static(status));
        Ok(S3Response::new(GetObjectLegalHoldOutput { legal_hold: Some(ObjectLockLegalHold { status }) }))
    }
}

fn no_lock() -> S3Error {
    unconfigured::none(
        "NoSuchObjectLockConfiguration",
        "The specified object does not have a ObjectLock configuration",
    )
}
