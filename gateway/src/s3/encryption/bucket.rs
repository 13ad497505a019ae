//! How a bucket's objects are encrypted when a request says nothing.

use datamesh_catalog::ConfigKind;
use datamesh_policy::Action;
use s3s::dto::{
    BlockedEncryptionTypes, DeleteBucketEncryptionInput, DeleteBucketEncryptionOutput, EncryptionType,
    GetBucketEncryptionInput, GetBucketEncryptionOutput, PutBucketEncryptionInput, PutBucketEncryptionOutput,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::{DEFAULT_KEY, StoredEncryption};
use crate::s3::S3Gateway;
use crate::s3::caller::Caller;

/// A bucket's encryption document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BucketEncryption {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<DefaultEncryption>,
    #[serde(default)]
    bucket_key: bool,
    /// Whether writes with customers' keys are refused. `None`: the configuration says nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_keys_refused: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DefaultEncryption {
    Gateway,
    Named { key: Option<String> },
}

impl BucketEncryption {
    /// What a version gets that asks for nothing; `None` for the account's key.
    pub fn stored(&self) -> Option<StoredEncryption> {
        match &self.default {
            None | Some(DefaultEncryption::Gateway) => None,
            Some(DefaultEncryption::Named { key }) => Some(StoredEncryption::Named {
                key: key.clone().unwrap_or_else(|| DEFAULT_KEY.to_owned()),
                context: None,
                bucket_key: self.bucket_key,
            }),
        }
    }

    pub fn refuses_customer_keys(&self) -> bool {
        self.customer_keys_refused == Some(true)
    }

    /// # Errors
    /// `MalformedXML` unless it has one rule of a known algorithm; `InvalidArgument` for a key without `aws:kms`.
    fn from_dto(config: ServerSideEncryptionConfiguration) -> S3Result<Self> {
        let Ok([rule]) = <[_; 1]>::try_from(config.rules) else { return Err(s3_error!(MalformedXML)) };
        let default = rule.apply_server_side_encryption_by_default.map(DefaultEncryption::from_dto);
        let refused = rule.blocked_encryption_types.and_then(|blocked| blocked.encryption_type);
        let refused = refused.map(|types| match types.as_slice() {
            [only] if only.as_str() == EncryptionType::SSE_C => Ok(true),
            [only] if only.as_str() == EncryptionType::NONE => Ok(false),
            _ => Err(s3_error!(MalformedXML)),
        });
        Ok(Self {
            default: default.transpose()?,
            bucket_key: rule.bucket_key_enabled.unwrap_or_default(),
            customer_keys_refused: refused.transpose()?,
        })
    }

    fn to_dto(&self) -> ServerSideEncryptionConfiguration {
        let blocked = self.customer_keys_refused.map(|refused| {
            let which = if refused { EncryptionType::SSE_C } else { EncryptionType::NONE };
            BlockedEncryptionTypes { encryption_type: Some(vec![EncryptionType::from_static(which)]) }
        });
        let rule = ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: self.default.as_ref().map(DefaultEncryption::to_dto),
            blocked_encryption_types: blocked,
            bucket_key_enabled: Some(self.bucket_key),
        };
        ServerSideEncryptionConfiguration { rules: vec![rule] }
    }
}

impl DefaultEncryption {
    fn from_dto(default: ServerSideEncryptionByDefault) -> S3Result<Self> {
        match (default.sse_algorithm.as_str(), default.kms_master_key_id) {
            (ServerSideEncryption::AES256, None) => Ok(Self::Gateway),
            (ServerSideEncryption::AES256, Some(_)) => Err(s3_error!(
                InvalidArgument,
                "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
            )),
            (ServerSideEncryption::AWS_KMS, key) => Ok(Self::Named { key }),
            _ => Err(s3_error!(MalformedXML)),
        }
    }

    fn to_dto(&self) -> ServerSideEncryptionByDefault {
        let (algorithm, key) = match self {
            Self::Gateway => (ServerSideEncryption::AES256, None),
            Self::Named { key } => (ServerSideEncryption::AWS_KMS, key.clone()),
        };
        ServerSideEncryptionByDefault {
            kms_master_key_id: key,
            sse_algorithm: ServerSideEncryption::from_static(algorithm),
        }
    }
}

impl S3Gateway {
    pub(in crate::s3) async fn put_bucket_encryption(
        &self,
        req: S3Request<PutBucketEncryptionInput>,
    ) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutEncryptionConfiguration, expected_owner).await?;
        let config = BucketEncryption::from_dto(input.server_side_encryption_configuration)?;
        self.set_config(&bucket, ConfigKind::Encryption, Some(&config)).await?;
        Ok(S3Response::new(PutBucketEncryptionOutput::default()))
    }

    pub(in crate::s3) async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::GetEncryptionConfiguration, expected_owner).await?;
        let config = self.config::<BucketEncryption>(&bucket, ConfigKind::Encryption).await?;
        let config = config.ok_or_else(not_found)?;
        Ok(S3Response::new(GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(config.to_dto()),
        }))
    }

    pub(in crate::s3) async fn delete_bucket_encryption(
        &self,
        req: S3Request<DeleteBucketEncryptionInput>,
    ) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutEncryptionConfiguration, expected_owner).await?;
        self.set_config::<BucketEncryption>(&bucket, ConfigKind::Encryption, None).await?;
        Ok(S3Response::new(DeleteBucketEncryptionOutput::default()))
    }
}

/// The protocol library takes it for a 400.
fn not_found() -> S3Error {
    let mut error = s3_error!(ServerSideEncryptionConfigurationNotFoundError);
    error.set_status_code(http::StatusCode::NOT_FOUND);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(algorithm: &'static str, key: Option<&str>) -> ServerSideEncryptionConfiguration {
        let default = ServerSideEncryptionByDefault {
            kms_master_key_id: key.map(str::to_owned),
            sse_algorithm: ServerSideEncryption::from_static(algorithm),
        };
        let rule = ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: Some(default),
            bucket_key_enabled: Some(true),
            ..ServerSideEncryptionRule::default()
        };
        ServerSideEncryptionConfiguration { rules: vec![rule] }
    }

    #[test]
    fn a_document_comes_back_as_it_was_sent() {
        for sent in [rule("AES256", None), rule("aws:kms", None), rule("aws:kms", Some("k"))] {
            let parsed = BucketEncryption::from_dto(sent.clone()).unwrap();
            let stored = serde_json::to_string(&parsed).unwrap();
            assert_eq!(serde_json::from_str::<BucketEncryption>(&stored).unwrap(), parsed);
            assert_eq!(parsed.to_dto(), sent);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let two = ServerSideEncryptionConfiguration {
            rules: [rule("AES256", None).rules, rule("AES256", None).rules].concat(),
        };
        let none = ServerSideEncryptionConfiguration { rules: Vec::new() };
        for config in [two, none, rule("AES256", Some("k")), rule("aes:kms", None)] {
            assert!(BucketEncryption::from_dto(config).is_err());
        }
    }
}
