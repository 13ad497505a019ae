//! The operations as a service: the protocol library's settings, and the list of what is implemented.

use std::sync::Arc;

use async_trait::async_trait;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::S3Gateway;
use super::auth::{Access, Auth};
use super::endpoint::Endpoint;
use super::hosts::VirtualHosts;
use super::token_service::TokenService;
use crate::http::{DOCUMENT_LEN_MAX, RequestTrace};

/// Settings of the protocol.
#[derive(Debug, Clone, Default)]
pub struct ServiceConfig {
    /// Domains whose subdomains are buckets. Empty: paths only.
    pub domains: Vec<String>,
    /// Whether signatures of version 2 count. They are weaker than those of version 4.
    pub signature_v2: bool,
}

/// S3 allows objects of 5 GiB in one request.
const BODY_LEN_MAX: u64 = 5 << 30;
/// A signed chunk of an `aws-chunked` body is held whole, because its signature covers all of it. SDKs send 64 KiB
/// to 1 MiB.
const SIGNED_CHUNK_LEN_MAX: usize = 4 << 20;

/// What a listener serves. Whoever did not sign is nobody.
pub fn service(gateway: S3Gateway, config: ServiceConfig) -> Endpoint {
    let mut protocol = S3Config::default();
    protocol.xml_max_body_size = DOCUMENT_LEN_MAX as usize;
    protocol.put_object_max_size = Some(BODY_LEN_MAX);
    protocol.aws_chunked_stream_max_chunk_size = SIGNED_CHUNK_LEN_MAX;
    protocol.enable_sig_v2 = config.signature_v2;
    // Forms are read before they get to the library.
    protocol.allow_post_signature = false;
    protocol.post_object_max_file_size = DOCUMENT_LEN_MAX;
    protocol.form_max_fields_size = DOCUMENT_LEN_MAX as usize;
    let accounts = gateway.accounts.clone();
    let (log, request_metrics) = (gateway.access_log.clone(), gateway.request_metrics.clone());
    let mut builder = S3ServiceBuilder::new(gateway.clone());
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(protocol))));
    builder.set_auth(Auth { accounts: accounts.clone() });
    builder.set_access(Access { accounts: accounts.clone(), log, request_metrics });
    builder.set_route(TokenService { accounts });
    let hosts = VirtualHosts { domains: config.domains };
    if !hosts.domains.is_empty() {
        builder.set_host(hosts.clone());
    }
    Endpoint::new(builder.build(), gateway, hosts)
}

/// Implements the operations by the gateway's own methods of the same names, and keeps the cause of a failure for
/// the log: the answer does not carry it.
macro_rules! operations {
    ($($name:ident: $input:ident => $output:ident,)*) => {
        /// All operations there are, by the names of their methods. Tests go through it, so that none is left out.
        pub const OPERATIONS: &[&str] = &[$(stringify!($name),)*];

        #[async_trait]
        impl S3 for S3Gateway {
            $(async fn $name(&self, request: S3Request<dto::$input>) -> S3Result<S3Response<dto::$output>> {
                let trace = request.extensions.get::<Arc<RequestTrace>>().cloned();
                if let Some(trace) = &trace {
                    trace.input_read();
                }
                let result = S3Gateway::$name(self, request).await;
                if let (Err(error), Some(trace)) = (&result, trace)
                    && let Some(source) = error.source()
                {
                    trace.set_cause(source);
                }
                result
            })*
        }
    };
}

operations! {
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput,
    copy_object: CopyObjectInput => CopyObjectOutput,
    create_bucket: CreateBucketInput => CreateBucketOutput,
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
    delete_bucket: DeleteBucketInput => DeleteBucketOutput,
    delete_bucket_analytics_configuration:
        DeleteBucketAnalyticsConfigurationInput => DeleteBucketAnalyticsConfigurationOutput,
    delete_bucket_cors: DeleteBucketCorsInput => DeleteBucketCorsOutput,
    delete_bucket_encryption: DeleteBucketEncryptionInput => DeleteBucketEncryptionOutput,
    delete_bucket_intelligent_tiering_configuration:
        DeleteBucketIntelligentTieringConfigurationInput => DeleteBucketIntelligentTieringConfigurationOutput,
    delete_bucket_inventory_configuration:
        DeleteBucketInventoryConfigurationInput => DeleteBucketInventoryConfigurationOutput,
    delete_bucket_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput,
    delete_bucket_metrics_configuration:
        DeleteBucketMetricsConfigurationInput => DeleteBucketMetricsConfigurationOutput,
    delete_bucket_ownership_controls:
        DeleteBucketOwnershipControlsInput => DeleteBucketOwnershipControlsOutput,
    delete_bucket_policy: DeleteBucketPolicyInput => DeleteBucketPolicyOutput,
    delete_bucket_replication: DeleteBucketReplicationInput => DeleteBucketReplicationOutput,
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput,
    delete_bucket_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    delete_public_access_block: DeletePublicAccessBlockInput => DeletePublicAccessBlockOutput,
    get_bucket_abac: GetBucketAbacInput => GetBucketAbacOutput,
    get_bucket_accelerate_configuration:
        GetBucketAccelerateConfigurationInput => GetBucketAccelerateConfigurationOutput,
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput,
    get_bucket_analytics_configuration:
        GetBucketAnalyticsConfigurationInput => GetBucketAnalyticsConfigurationOutput,
    get_bucket_cors: GetBucketCorsInput => GetBucketCorsOutput,
    get_bucket_encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput,
    get_bucket_intelligent_tiering_configuration:
        GetBucketIntelligentTieringConfigurationInput => GetBucketIntelligentTieringConfigurationOutput,
    get_bucket_inventory_configuration:
        GetBucketInventoryConfigurationInput => GetBucketInventoryConfigurationOutput,
    get_bucket_lifecycle_configuration:
        GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput,
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput,
    get_bucket_logging: GetBucketLoggingInput => GetBucketLoggingOutput,
    get_bucket_metadata_configuration:
        GetBucketMetadataConfigurationInput => GetBucketMetadataConfigurationOutput,
    get_bucket_metadata_table_configuration:
        GetBucketMetadataTableConfigurationInput => GetBucketMetadataTableConfigurationOutput,
    get_bucket_metrics_configuration:
        GetBucketMetricsConfigurationInput => GetBucketMetricsConfigurationOutput,
    get_bucket_notification_configuration:
        GetBucketNotificationConfigurationInput => GetBucketNotificationConfigurationOutput,
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput,
    get_bucket_policy: GetBucketPolicyInput => GetBucketPolicyOutput,
    get_bucket_policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput,
    get_bucket_replication: GetBucketReplicationInput => GetBucketReplicationOutput,
    get_bucket_request_payment: GetBucketRequestPaymentInput => GetBucketRequestPaymentOutput,
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput,
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput,
    get_bucket_website: GetBucketWebsiteInput => GetBucketWebsiteOutput,
    get_object: GetObjectInput => GetObjectOutput,
    get_object_acl: GetObjectAclInput => GetObjectAclOutput,
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput,
    get_object_legal_hold: GetObjectLegalHoldInput => GetObjectLegalHoldOutput,
    get_object_lock_configuration: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput,
    get_object_retention: GetObjectRetentionInput => GetObjectRetentionOutput,
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput,
    get_object_torrent: GetObjectTorrentInput => GetObjectTorrentOutput,
    get_public_access_block: GetPublicAccessBlockInput => GetPublicAccessBlockOutput,
    head_bucket: HeadBucketInput => HeadBucketOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    list_bucket_analytics_configurations:
        ListBucketAnalyticsConfigurationsInput => ListBucketAnalyticsConfigurationsOutput,
    list_bucket_intelligent_tiering_configurations:
        ListBucketIntelligentTieringConfigurationsInput => ListBucketIntelligentTieringConfigurationsOutput,
    list_bucket_inventory_configurations:
        ListBucketInventoryConfigurationsInput => ListBucketInventoryConfigurationsOutput,
    list_bucket_metrics_configurations:
        ListBucketMetricsConfigurationsInput => ListBucketMetricsConfigurationsOutput,
    list_buckets: ListBucketsInput => ListBucketsOutput,
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput,
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput,
    list_objects: ListObjectsInput => ListObjectsOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    list_parts: ListPartsInput => ListPartsOutput,
    put_bucket_accelerate_configuration:
        PutBucketAccelerateConfigurationInput => PutBucketAccelerateConfigurationOutput,
    put_bucket_acl: PutBucketAclInput => PutBucketAclOutput,
    put_bucket_cors: PutBucketCorsInput => PutBucketCorsOutput,
    put_bucket_encryption: PutBucketEncryptionInput => PutBucketEncryptionOutput,
    put_bucket_inventory_configuration:
        PutBucketInventoryConfigurationInput => PutBucketInventoryConfigurationOutput,
    put_bucket_lifecycle_configuration:
        PutBucketLifecycleConfigurationInput => PutBucketLifecycleConfigurationOutput,
    put_bucket_logging: PutBucketLoggingInput => PutBucketLoggingOutput,
    put_bucket_metrics_configuration:
        PutBucketMetricsConfigurationInput => PutBucketMetricsConfigurationOutput,
    put_bucket_notification_configuration:
        PutBucketNotificationConfigurationInput => PutBucketNotificationConfigurationOutput,
    put_bucket_ownership_controls: PutBucketOwnershipControlsInput => PutBucketOwnershipControlsOutput,
    put_bucket_policy: PutBucketPolicyInput => PutBucketPolicyOutput,
    put_bucket_request_payment: PutBucketRequestPaymentInput => PutBucketRequestPaymentOutput,
    put_bucket_tagging: PutBucketTaggingInput => PutBucketTaggingOutput,
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput,
    put_bucket_website: PutBucketWebsiteInput => PutBucketWebsiteOutput,
    put_object: PutObjectInput => PutObjectOutput,
    put_object_acl: PutObjectAclInput => PutObjectAclOutput,
    put_object_legal_hold: PutObjectLegalHoldInput => PutObjectLegalHoldOutput,
    put_object_lock_configuration: PutObjectLockConfigurationInput => PutObjectLockConfigurationOutput,
    put_object_retention: PutObjectRetentionInput => PutObjectRetentionOutput,
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput,
    put_public_access_block: PutPublicAccessBlockInput => PutPublicAccessBlockOutput,
    restore_object: RestoreObjectInput => RestoreObjectOutput,
    upload_part: UploadPartInput => UploadPartOutput,
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput,
}
