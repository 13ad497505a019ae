//! `RestoreObject`. Cold classes here are slower or denser, never out of reach: what they hold is always restored.

use datamesh_policy::Action;
use s3s::dto::{RestoreObjectInput, RestoreObjectOutput, StorageClass};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;

/// The classes whose objects S3 has to restore before they are read.
const ARCHIVES: [&str; 2] = [StorageClass::GLACIER, StorageClass::DEEP_ARCHIVE];

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
        let (_, version) = self.version(&caller, name, id, Action::RestoreObject, expected_owner).await?;
        let asked = input.restore_request.ok_or_else(|| s3_error!(MalformedXML))?;
        if asked.select_parameters.is_some() || asked.output_location.is_some() {
            return Err(s3_error!(NotImplemented, "Select restores are not implemented."));
        }
        if !ARCHIVES.contains(&version.storage_class.as_str()) {
            return Err(s3_error!(
                InvalidObjectState,
                "Restore is not allowed for the object's current storage class"
            ));
        }
        match asked.days {
            Some(1..) => Ok(S3Response::new(RestoreObjectOutput::default())),
            _ => Err(s3_error!(MalformedXML)),
        }
    }
}
