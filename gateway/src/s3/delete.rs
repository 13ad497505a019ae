//! `DeleteObject` and `DeleteObjects`.

use datamesh_catalog::{Bucket, CatalogError, DeleteCondition, DeleteVersion, Deleted, VersionId};
use datamesh_policy::Action;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETagCondition, Error, ObjectIdentifier,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::conditions::{etag_condition, unix_seconds};
use super::gate::{About, Gate};
use super::{S3Gateway, errors, now_ms, parse_version_id, shown_version};
use crate::events::Change;

/// S3's limit on the keys of one request.
const KEYS_MAX: usize = 1000;
const KEY_LEN_MAX: usize = 1024;

impl S3Gateway {
    pub(super) async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let version = parse_version_id(input.version_id.as_deref())?;
        let bucket = self.any_bucket(&input.bucket, expected_owner).await?;
        let gate = self.gate(&caller, &bucket).await?;
        gate.check(deletion(version), About::Key(&input.key))?;
        self.enter_bucket(&caller, &bucket).await?;
        let bypass_governance = may_bypass(&gate, input.bypass_governance_retention, &input.key)?;
        let rows = self.row_key(&bucket).await?;
        let if_match =
            input.if_match.as_ref().map(|condition| etag_condition(&rows, condition)).transpose()?;
        let delete = DeleteVersion {
            bucket: bucket.id,
            key: input.key.into_bytes(),
            version,
            condition: DeleteCondition {
                if_match,
                if_modified_s: input.if_match_last_modified_time.as_ref().map(unix_seconds),
                if_size: input.if_match_size.map(i64::cast_unsigned),
            },
            bypass_governance,
            now_ms: now_ms(),
        };
        let hook = self.release();
        let catalog = self.announcing(&bucket, &caller, &Change::deletion(&delete.key)).await?;
        let deleted = catalog.delete_version(delete, hook).await.map_err(errors::catalog)?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: deleted.delete_marker.then_some(true),
            version_id: deleted.version.or(version).and_then(|id| shown_version(&bucket, id)),
            ..DeleteObjectOutput::default()
        }))
    }

    pub(super) async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.any_bucket(&input.bucket, expected_owner).await?;
        let gate = self.gate(&caller, &bucket).await?;
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > KEYS_MAX {
            return Err(s3_error!(MalformedXML));
        }
        let now_ms = now_ms();
        let rows = self.row_key(&bucket).await?;
        let mut deletes = Vec::with_capacity(objects.len());
        let mut places = Vec::with_capacity(objects.len());
        for object in &objects {
            let version = check_key(object).and_then(|()| parse_version_id(object.version_id.as_deref()));
            let allowed = version
                .and_then(|version| gate.check(deletion(version), About::Key(&object.key)).map(|()| version));
            let allowed = allowed.and_then(|version| {
                let bypass = may_bypass(&gate, input.bypass_governance_retention, &object.key)?;
                let etag = object.e_tag.clone().map(ETagCondition::ETag);
                let if_match = etag.map(|etag| etag_condition(&rows, &etag)).transpose()?;
                Ok((version, bypass, if_match))
            });
            places.push(allowed.map(|(version, bypass_governance, if_match)| {
                deletes.push(DeleteVersion {
                    bucket: bucket.id,
                    key: object.key.clone().into_bytes(),
                    version,
                    condition: DeleteCondition {
                        if_match,
                        if_modified_s: object.last_modified_time.as_ref().map(unix_seconds),
                        if_size: object.size.map(i64::cast_unsigned),
                    },
                    bypass_governance,
                    now_ms,
                });
            }));
        }
        if !deletes.is_empty() {
            self.enter_bucket(&caller, &bucket).await?;
        }
        let hook = self.release();
        let changes: Vec<Change<'_>> =
            objects.iter().flat_map(|object| Change::deletion(object.key.as_bytes())).collect();
        let catalog = self.announcing(&bucket, &caller, &changes).await?;
        let results = catalog.delete_versions(deletes, hook).await.map_err(errors::catalog)?;
        let quiet = input.delete.quiet.unwrap_or(false);
        Ok(S3Response::new(report(&bucket, objects, places, results, quiet)))
    }
}

/// What a deletion is called: naming a version destroys it, not naming one may only hide it.
fn deletion(version: Option<VersionId>) -> Action {
    if version.is_some() { Action::DeleteObjectVersion } else { Action::DeleteObject }
}

/// Whether the request asks to bypass governance, and the caller may. Who may not is still not refused what needs no
/// bypass.
fn may_bypass(gate: &Gate<'_>, asked: Option<bool>, key: &str) -> S3Result<bool> {
    Ok(asked == Some(true) && gate.allows(Action::BypassGovernanceRetention, About::Key(key))?)
}

fn check_key(object: &ObjectIdentifier) -> S3Result<()> {
    match object.key.len() {
        0 => Err(s3_error!(UserKeyMustBeSpecified)),
        len if len > KEY_LEN_MAX => Err(s3_error!(KeyTooLongError)),
        _ => Ok(()),
    }
}

/// One line for each key asked, in that order: `places` says which were tried, `results` how those went.
fn report(
    bucket: &Bucket,
    objects: Vec<ObjectIdentifier>,
    places: Vec<S3Result<()>>,
    results: Vec<Result<Deleted, CatalogError>>,
    quiet: bool,
) -> DeleteObjectsOutput {
    let mut results = results.into_iter();
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for (object, place) in objects.into_iter().zip(places) {
        let result = place.and_then(|()| {
            let result = results.next().ok_or_else(|| s3_error!(InternalError))?;
            result.map_err(errors::catalog)
        });
        match result {
            Ok(done) if !quiet => deleted.push(shown(bucket, object, done)),
            Ok(_) => {}
            Err(error) => failed.push(shown_error(object, &error)),
        }
    }
    DeleteObjectsOutput { deleted: Some(deleted), errors: Some(failed), ..DeleteObjectsOutput::default() }
}

/// `version_id` repeats what the request named, whether it was there or not.
fn shown(bucket: &Bucket, object: ObjectIdentifier, done: Deleted) -> DeletedObject {
    let marker = done.version.filter(|_| done.delete_marker);
    DeletedObject {
        delete_marker: done.delete_marker.then_some(true),
        delete_marker_version_id: marker.and_then(|id| shown_version(bucket, id)),
        key: Some(object.key),
        version_id: object.version_id,
    }
}

fn shown_error(object: ObjectIdentifier, error: &S3Error) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        message: error.message().map(str::to_owned),
        key: Some(object.key),
        version_id: object.version_id,
    }
}
