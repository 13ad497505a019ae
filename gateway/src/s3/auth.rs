//! Who asks, and what they may do.

use std::sync::Arc;

use async_trait::async_trait;
use datamesh_accounts::Accounts;
use datamesh_catalog::Bucket;
use datamesh_types::{AccountId, DomainId};
use http::Extensions;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::errors;
use crate::http::RequestTrace;

/// Whose signature a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// The dedup domain of the buckets that it creates.
    pub domain: DomainId,
}

/// What a request does to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reads an object or what is known of it.
    Read,
    /// Writes or deletes objects, or works on uploads.
    Write,
    /// Lists keys or uploads.
    List,
    /// Reads the bucket's own settings.
    ReadBucket,
    /// Changes or deletes the bucket itself.
    WriteBucket,
}

/// The one place that decides. For now a bucket is open to its owner, for everything, and to nobody else.
///
/// # Errors
/// `AccessDenied`.
pub fn authorize(
    identity: &Identity,
    bucket: &Bucket,
    action: Action,
    expected_owner: Option<&str>,
) -> S3Result<()> {
    let owns = match action {
        Action::Read | Action::Write | Action::List | Action::ReadBucket | Action::WriteBucket => {
            bucket.account == identity.account
        }
    };
    let as_expected = expected_owner.is_none_or(|owner| owner == bucket.account.to_string());
    if owns && as_expected { Ok(()) } else { Err(s3_error!(AccessDenied)) }
}

/// The identity that [`Access`] left in the request.
pub(super) fn identity(extensions: &Extensions) -> S3Result<Identity> {
    extensions.get::<Identity>().copied().ok_or_else(|| s3_error!(AccessDenied))
}

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

/// Names the request's operation and identity, and denies what is not signed.
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
        let access_key = match cx.credentials() {
            Some(credentials) => &credentials.access_key,
            None => return Err(s3_error!(AccessDenied)),
        };
        let credential = self.accounts.lookup(access_key).await.map_err(errors::accounts)?;
        let credential = credential.ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        let identity = Identity { account: credential.account, domain: credential.domain };
        cx.extensions_mut().insert(identity);
        Ok(())
    }
}
