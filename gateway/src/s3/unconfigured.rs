//! Answers for what a bucket does not have yet: well-formed and empty, or S3's own "there is none".
//!
//! Clients ask before they work: Cyberduck for versioning and location, Terraform for every setting it manages. They
//! must not be told 501.

use datamesh_policy::Action;
use http::StatusCode;
use s3s::dto::{
    AbacStatus, BucketAbacStatus, DeleteBucketAnalyticsConfigurationInput,
    DeleteBucketAnalyticsConfigurationOutput, DeleteBucketIntelligentTieringConfigurationInput,
    DeleteBucketIntelligentTieringConfigurationOutput, DeleteBucketReplicationInput,
    DeleteBucketReplicationOutput, GetBucketAbacInput, GetBucketAbacOutput,
    GetBucketAnalyticsConfigurationInput, GetBucketAnalyticsConfigurationOutput,
    GetBucketIntelligentTieringConfigurationInput, GetBucketIntelligentTieringConfigurationOutput,
    GetBucketMetadataConfigurationInput, GetBucketMetadataConfigurationOutput,
    GetBucketMetadataTableConfigurationInput, GetBucketMetadataTableConfigurationOutput,
    GetBucketReplicationInput, GetBucketReplicationOutput, ListBucketAnalyticsConfigurationsInput,
    ListBucketAnalyticsConfigurationsOutput, ListBucketIntelligentTieringConfigurationsInput,
    ListBucketIntelligentTieringConfigurationsOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;
use super::named_configs::no_configuration;

/// An answer about a bucket, once the bucket is there and its owner asks.
macro_rules! about_bucket {
    ($($name:ident: $input:ident => $output:ident by $action:ident = |$bucket:ident| $answer:expr;)*) => {
        impl S3Gateway {
            $(pub(super) async fn $name(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
                let input = &req.input;
                let expected_owner = input.expected_bucket_owner.as_deref();
                let $bucket =
                    self.bucket(&caller, &input.bucket, Action::$action, expected_owner).await?;
                let answer: S3Result<$output> = $answer;
                answer.map(S3Response::new)
            })*
        }
    };
}

about_bucket! {
    get_bucket_replication: GetBucketReplicationInput => GetBucketReplicationOutput by GetReplicationConfiguration =
        |_bucket| Err(s3_error!(ReplicationConfigurationNotFoundError));
    get_bucket_analytics_configuration:
        GetBucketAnalyticsConfigurationInput => GetBucketAnalyticsConfigurationOutput by GetAnalyticsConfiguration =
        |_bucket| Err(no_configuration());
    list_bucket_analytics_configurations:
        ListBucketAnalyticsConfigurationsInput => ListBucketAnalyticsConfigurationsOutput by GetAnalyticsConfiguration =
        |_bucket| Ok(ListBucketAnalyticsConfigurationsOutput {
            is_truncated: Some(false),
            ..ListBucketAnalyticsConfigurationsOutput::default()
        });
    get_bucket_intelligent_tiering_configuration: GetBucketIntelligentTieringConfigurationInput =>
        GetBucketIntelligentTieringConfigurationOutput by GetIntelligentTieringConfiguration =
        |_bucket| Err(no_configuration());
    list_bucket_intelligent_tiering_configurations: ListBucketIntelligentTieringConfigurationsInput =>
        ListBucketIntelligentTieringConfigurationsOutput by GetIntelligentTieringConfiguration =
        |_bucket| Ok(ListBucketIntelligentTieringConfigurationsOutput {
            is_truncated: Some(false),
            ..ListBucketIntelligentTieringConfigurationsOutput::default()
        });
    get_bucket_abac: GetBucketAbacInput => GetBucketAbacOutput by GetBucketAbac =
        |_bucket| {
            let status = Some(BucketAbacStatus::from_static(BucketAbacStatus::DISABLED));
            Ok(GetBucketAbacOutput { abac_status: Some(AbacStatus { status }) })
        };
    get_bucket_metadata_configuration:
        GetBucketMetadataConfigurationInput => GetBucketMetadataConfigurationOutput by GetBucketMetadataTableConfiguration =
        |_bucket| Err(no_metadata_configuration());
    get_bucket_metadata_table_configuration: GetBucketMetadataTableConfigurationInput =>
        GetBucketMetadataTableConfigurationOutput by GetBucketMetadataTableConfiguration =
        |_bucket| Err(no_metadata_configuration());
    delete_bucket_analytics_configuration: DeleteBucketAnalyticsConfigurationInput =>
        DeleteBucketAnalyticsConfigurationOutput by PutAnalyticsConfiguration =
        |_bucket| Err(no_configuration());
    delete_bucket_intelligent_tiering_configuration: DeleteBucketIntelligentTieringConfigurationInput =>
        DeleteBucketIntelligentTieringConfigurationOutput by PutIntelligentTieringConfiguration =
        |_bucket| Err(no_configuration());
    delete_bucket_replication: DeleteBucketReplicationInput => DeleteBucketReplicationOutput by PutReplicationConfiguration =
        |_bucket| Ok(DeleteBucketReplicationOutput::default());
}

fn no_metadata_configuration() -> S3Error {
    none("MetadataConfigurationNotFound", "The metadata configuration does not exist.")
}

/// A "there is none" that the protocol library has no name for.
pub(super) fn none(code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(StatusCode::NOT_FOUND);
    error
}
