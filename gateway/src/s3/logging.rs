//! The logging configuration of a bucket.

use datamesh_catalog::{Bucket, ConfigKind};
use datamesh_policy::Action;
use s3s::dto::{
    BucketLoggingStatus, GetBucketLoggingInput, GetBucketLoggingOutput, LoggingEnabled, PartitionDateSource,
    PartitionedPrefix, PutBucketLoggingInput, PutBucketLoggingOutput, SimplePrefix, TargetObjectKeyFormat,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::gate::About;
use super::{S3Gateway, errors, now_ms};
use crate::access_log::{KeyFormat, Logging, Source};

impl S3Gateway {
    pub(super) async fn put_bucket_logging(
        &self,
        req: S3Request<PutBucketLoggingInput>,
    ) -> S3Result<S3Response<PutBucketLoggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketLogging, expected_owner).await?;
        let logging = self.parse_logging(&caller, &bucket, input.bucket_logging_status).await?;
        self.set_config(&bucket, ConfigKind::Logging, logging.as_ref()).await?;
        // Other gateways learn of it a little later.
        self.access_log.refresh(&self.catalog).await;
        Ok(S3Response::new(PutBucketLoggingOutput::default()))
    }

    pub(super) async fn get_bucket_logging(
        &self,
        req: S3Request<GetBucketLoggingInput>,
    ) -> S3Result<S3Response<GetBucketLoggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketLogging, expected_owner).await?;
        let logging = self.config::<Logging>(&bucket, ConfigKind::Logging).await?;
        let logging_enabled = logging.map(|logging| show(&logging));
        Ok(S3Response::new(GetBucketLoggingOutput { logging_enabled }))
    }

    async fn parse_logging(
        &self,
        caller: &Caller<'_>,
        source: &Bucket,
        status: BucketLoggingStatus,
    ) -> S3Result<Option<Logging>> {
        let Some(enabled) = status.logging_enabled else { return Ok(None) };
        let target = self.catalog.bucket(&enabled.target_bucket).await.map_err(errors::catalog)?;
        let target = target.ok_or_else(|| {
            s3_error!(InvalidTargetBucketForLogging, "The target bucket for logging does not exist")
        })?;
        if target.account != source.account {
            return Err(s3_error!(
                InvalidTargetBucketForLogging,
                "The owner for the bucket to be logged and the target bucket must be the same."
            ));
        }
        if target.id == source.id {
            // Each line would cause the next.
            return Err(s3_error!(InvalidArgument, "A bucket cannot log into itself."));
        }
        let format = key_format(enabled.target_object_key_format)?;
        let logging = Logging { bucket: enabled.target_bucket, prefix: enabled.target_prefix, format };
        // Whoever may not write there may not have it written.
        let source = Source::new(source, logging);
        let key = source.key_at(now_ms());
        self.gate(caller, &target).await?.check(Action::PutObject, About::Key(&key))?;
        Ok(Some(source.logging))
    }
}

fn key_format(format: Option<TargetObjectKeyFormat>) -> S3Result<KeyFormat> {
    let Some(format) = format else { return Ok(KeyFormat::Simple) };
    match (format.simple_prefix, format.partitioned_prefix) {
        (Some(_), None) => Ok(KeyFormat::Simple),
        (None, Some(partitioned)) => {
            let source = partitioned.partition_date_source;
            match source.as_ref().map(PartitionDateSource::as_str) {
                Some(PartitionDateSource::DELIVERY_TIME) => Ok(KeyFormat::PartitionedByDelivery),
                Some(PartitionDateSource::EVENT_TIME) | None => Ok(KeyFormat::PartitionedByEvent),
                Some(_) => Err(s3_error!(MalformedXML)),
            }
        }
        _ => Err(s3_error!(MalformedXML)),
    }
}

fn show(logging: &Logging) -> LoggingEnabled {
    let partitioned = |source| TargetObjectKeyFormat {
        partitioned_prefix: Some(PartitionedPrefix {
            partition_date_source: Some(PartitionDateSource::from_static(source)),
        }),
        simple_prefix: None,
    };
    let target_object_key_format = match logging.format {
        KeyFormat::Simple => {
            TargetObjectKeyFormat { partitioned_prefix: None, simple_prefix: Some(SimplePrefix::default()) }
        }
        KeyFormat::PartitionedByEvent => partitioned(PartitionDateSource::EVENT_TIME),
        KeyFormat::PartitionedByDelivery => partitioned(PartitionDateSource::DELIVERY_TIME),
    };
    LoggingEnabled {
        target_bucket: logging.bucket.clone(),
        target_grants: None,
        target_object_key_format: Some(target_object_key_format),
        target_prefix: logging.prefix.clone(),
    }
}
