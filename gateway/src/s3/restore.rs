//! Archived classes: what is in them is read only after `RestoreObject`, and for as many days as that asked for.
//!
//! The bytes are where they were all the time, so that a restore is done at once.

use datamesh_catalog::Version;
use datamesh_policy::Action;
use http::StatusCode;
use s3s::dto::{RestoreObjectInput, RestoreObjectOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use time::OffsetDateTime;

use super::caller::Caller;
use super::endpoint::answer;
use super::lifecycle::HTTP_DATE;
use super::{S3Gateway, errors, now_ms};
use crate::events::Change;
use crate::lifecycle::Calendar;

/// S3's limit.
const DAYS_MAX: i32 = 30_000;

impl S3Gateway {
    pub(super) async fn restore_object(
        &self,
        req: S3Request<RestoreObjectInput>,
    ) -> S3Result<S3Response<RestoreObjectOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let expected_owner = input.expected_bucket_owner.as_deref();
        let id = input.version_id.as_deref();
        let (bucket, version) =
            self.version(&caller, name, id, Action::RestoreObject, expected_owner).await?;
        let asked = input.restore_request.ok_or_else(|| s3_error!(MalformedXML))?;
        if asked.select_parameters.is_some() || asked.output_location.is_some() {
            return Err(s3_error!(NotImplemented, "Select restores are not implemented."));
        }
        if !self.classes.is_archive(&version.storage_class) {
            return Err(s3_error!(
                InvalidObjectState,
                "Restore is not allowed for the object's current storage class"
            ));
        }
        let days = asked.days.filter(|days| (1..=DAYS_MAX).contains(days));
        let days = days.ok_or_else(|| s3_error!(MalformedXML))?;
        let now_ms = now_ms();
        let until_ms = Calendar::Utc.due_ms(now_ms, days.unsigned_abs());
        let catalog = self.announcing(&bucket, &caller, &Change::restored(&version, until_ms)).await?;
        let restored = catalog.restore_version(&version, until_ms, now_ms).await;
        let status = if restored.map_err(errors::catalog)? { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok(answer(RestoreObjectOutput::default(), status))
    }

    /// `x-amz-restore` of a version: until when it may be read, if it is in an archive.
    pub(super) async fn shown_restore(&self, version: &Version) -> S3Result<Option<String>> {
        let Some(until_ms) = self.restored_until(version).await? else { return Ok(None) };
        let date = OffsetDateTime::from_unix_timestamp((until_ms / 1000) as i64);
        let date = date.map_err(|error| s3_error!(error, InternalError))?.format(HTTP_DATE);
        let date = date.map_err(|error| s3_error!(error, InternalError))?;
        Ok(Some(format!("ongoing-request=\"false\", expiry-date=\"{date}\"")))
    }

    /// # Errors
    /// `InvalidObjectState` for what is in an archive and not restored.
    pub(super) async fn check_readable(&self, version: &Version) -> S3Result<()> {
        let class = &version.storage_class;
        if self.classes.is_archive(class) && self.restored_until(version).await?.is_none() {
            return Err(s3_error!(
                InvalidObjectState,
                "The operation is not valid for the object's storage class: {class} has to be restored first"
            ));
        }
        Ok(())
    }

    async fn restored_until(&self, version: &Version) -> S3Result<Option<u64>> {
        if !self.classes.is_archive(&version.storage_class) {
            return Ok(None);
        }
        self.catalog.restored_until(version, now_ms()).await.map_err(errors::catalog)
    }
}
