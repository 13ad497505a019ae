//! Two settings that are kept and told, and change nothing here: who pays for requests, and transfer acceleration.

use datamesh_catalog::ConfigKind;
use datamesh_policy::Action;
use s3s::dto::{
    BucketAccelerateStatus, GetBucketAccelerateConfigurationInput, GetBucketAccelerateConfigurationOutput,
    GetBucketRequestPaymentInput, GetBucketRequestPaymentOutput, Payer,
    PutBucketAccelerateConfigurationInput, PutBucketAccelerateConfigurationOutput,
    PutBucketRequestPaymentInput, PutBucketRequestPaymentOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::S3Gateway;
use super::caller::Caller;

/// Who pays for requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PaidBy {
    Owner,
    Requester,
}

/// Whether acceleration was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Acceleration {
    Enabled,
    Suspended,
}

impl S3Gateway {
    pub(super) async fn put_bucket_request_payment(
        &self,
        req: S3Request<PutBucketRequestPaymentInput>,
    ) -> S3Result<S3Response<PutBucketRequestPaymentOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutBucketRequestPayment, expected_owner).await?;
        let payer = match input.request_payment_configuration.payer.as_str() {
            Payer::BUCKET_OWNER => PaidBy::Owner,
            Payer::REQUESTER => PaidBy::Requester,
            _ => return Err(s3_error!(MalformedXML)),
        };
        self.set_config(&bucket, ConfigKind::RequestPayment, Some(&payer)).await?;
        Ok(S3Response::new(PutBucketRequestPaymentOutput::default()))
    }

    pub(super) async fn get_bucket_request_payment(
        &self,
        req: S3Request<GetBucketRequestPaymentInput>,
    ) -> S3Result<S3Response<GetBucketRequestPaymentOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::GetBucketRequestPayment, expected_owner).await?;
        let payer = match self.config::<PaidBy>(&bucket, ConfigKind::RequestPayment).await?.as_deref() {
            Some(PaidBy::Requester) => Payer::REQUESTER,
            Some(PaidBy::Owner) | None => Payer::BUCKET_OWNER,
        };
        Ok(S3Response::new(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(payer)) }))
    }

    pub(super) async fn put_bucket_accelerate_configuration(
        &self,
        req: S3Request<PutBucketAccelerateConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketAccelerateConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutAccelerateConfiguration, expected_owner).await?;
        if bucket.name.contains('.') {
            return Err(s3_error!(
                InvalidRequest,
                "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names"
            ));
        }
        let status = input.accelerate_configuration.status;
        let acceleration = match status.as_ref().map(BucketAccelerateStatus::as_str) {
            Some(BucketAccelerateStatus::ENABLED) => Acceleration::Enabled,
            Some(BucketAccelerateStatus::SUSPENDED) => Acceleration::Suspended,
            _ => return Err(s3_error!(MalformedXML)),
        };
        self.set_config(&bucket, ConfigKind::Accelerate, Some(&acceleration)).await?;
        Ok(S3Response::new(PutBucketAccelerateConfigurationOutput::default()))
    }

    pub(super) async fn get_bucket_accelerate_configuration(
        &self,
        req: S3Request<GetBucketAccelerateConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketAccelerateConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::GetAccelerateConfiguration, expected_owner).await?;
        let acceleration = self.config::<Acceleration>(&bucket, ConfigKind::Accelerate).await?;
        let status = acceleration.map(|acceleration| match *acceleration {
            Acceleration::Enabled => BucketAccelerateStatus::ENABLED,
            Acceleration::Suspended => BucketAccelerateStatus::SUSPENDED,
        });
        Ok(S3Response::new(GetBucketAccelerateConfigurationOutput {
            status: status.map(BucketAccelerateStatus::from_static),
            ..GetBucketAccelerateConfigurationOutput::default()
        }))
    }
}
