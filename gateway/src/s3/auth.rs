//! Whose signature a request carries.
//!
//! What the signer may do is not decided here but in [`super::gate`], by every operation for itself.

use std::sync::Arc;

use async_trait::async_trait;
use datamesh_accounts::Accounts;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::caller::Identity;
use super::errors;
use crate::http::RequestTrace;

/// Finds the secret that a signature is checked with.
pub(super) struct Auth {
    pub accounts: Accounts,
}

#[async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let credential = self.accounts.lookup(access_key).await.map_err(errors::accounts)?;
        let credential = credential.ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(SecretKey::from(credential.secret.expose()))
    }
}

/// Names the request's operation, and whoever signed it.
pub(super) struct Access {
    pub accounts: Accounts,
}

#[async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = cx.s3_op().name().to_owned();
        if let Some(trace) = cx.extensions_mut().get::<Arc<RequestTrace>>() {
            trace.set_operation(&operation);
        }
        let identity = match cx.credentials() {
            None => Identity::Anonymous,
            Some(credentials) => {
                let known = self.accounts.lookup(&credentials.access_key).await;
                let known = known.map_err(errors::accounts)?;
                Identity::Key(known.ok_or_else(|| s3_error!(InvalidAccessKeyId))?)
            }
        };
        cx.extensions_mut().insert(identity);
        Ok(())
    }
}
