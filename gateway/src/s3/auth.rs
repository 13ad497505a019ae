//! Whose signature a request carries.
//!
//! What the signer may do is not decided here but in [`super::gate`], by every operation for itself.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use datamesh_accounts::{Accounts, AccountsError, Credential};
use http::{HeaderMap, Uri};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::admission::admit;
use super::caller::Identity;
use super::post::FormIdentity;
use super::signing::{Carrier, Signing};
use super::{errors, now_ms};
use crate::access_log::{AccessLog, Asked};
use crate::http::RequestTrace;
use crate::request_metrics::RequestMetrics;

/// Finds the secret that a signature is checked with.
pub(super) struct Auth {
    pub accounts: Accounts,
}

#[async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        secret_of(&self.accounts, access_key).await
    }
}

/// The secret that signs with a key.
pub(super) async fn secret_of(accounts: &Accounts, access_key: &str) -> S3Result<SecretKey> {
    if Accounts::is_temporary(access_key) {
        let secret = Box::pin(accounts.session_secret(access_key)).await.map_err(errors::accounts)?;
        return Ok(SecretKey::from(secret.expose()));
    }
    let credential = known(accounts, access_key).await?;
    Ok(SecretKey::from(credential.secret.expose()))
}

/// Whose key signed a request: one of an account, or a temporary one, with the token that has to come with it.
///
/// # Errors
/// `InvalidAccessKeyId` for a key that is not there or revoked; `InvalidToken` and `ExpiredToken` for temporary ones.
pub(super) async fn identify(
    accounts: &Accounts,
    access_key: Option<&str>,
    headers: &HeaderMap,
    uri: &Uri,
) -> S3Result<Identity> {
    let Some(access_key) = access_key else { return Ok(Identity::Anonymous) };
    let token = session_token(headers, uri);
    if !Accounts::is_temporary(access_key) {
        if token.is_some() {
            return Err(errors::accounts(AccountsError::InvalidToken));
        }
        return Ok(Identity::Key(known(accounts, access_key).await?));
    }
    let token = token.unwrap_or_default();
    let session = Box::pin(accounts.session(access_key, &token)).await.map_err(errors::accounts)?;
    let key = known(accounts, &session.parent).await?;
    Ok(Identity::of_session(key, session))
}

async fn known(accounts: &Accounts, access_key: &str) -> S3Result<Arc<Credential>> {
    let known = accounts.lookup(access_key).await.map_err(errors::accounts)?;
    known.ok_or_else(|| s3_error!(InvalidAccessKeyId))
}

/// The token in the headers, or in the query of a presigned URL.
fn session_token<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<Cow<'a, str>> {
    if let Some(token) = headers.get("x-amz-security-token") {
        // What is no text is no token either.
        return Some(token.to_str().unwrap_or_default().into());
    }
    let query = uri.query().filter(|query| query.contains("X-Amz-Security-Token"))?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "X-Amz-Security-Token").map(|(_, token)| token)
}

/// Names the request's operation, and whoever signed it.
pub(super) struct Access {
    pub accounts: Accounts,
    pub log: AccessLog,
    pub request_metrics: RequestMetrics,
}

#[async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.headers().get("content-md5").is_some_and(http::HeaderValue::is_empty) {
            return Err(s3_error!(InvalidDigest));
        }
        let operation = cx.s3_op().name().to_owned();
        if let Some(trace) = cx.extensions_mut().get::<Arc<RequestTrace>>() {
            trace.set_operation(&operation);
        }
        let identity = if let Some(FormIdentity(identity)) = cx.extensions_mut().remove() {
            identity
        } else {
            let access_key = cx.credentials().map(|credentials| credentials.access_key.as_str());
            identify(&self.accounts, access_key, cx.headers(), cx.uri()).await?
        };
        self.observe(cx, &identity);
        if let Some(trace) = cx.extensions_mut().get::<Arc<RequestTrace>>().cloned() {
            let method = cx.method().clone();
            admit(&self.accounts, &trace, &identity, (&operation, &method)).await?;
        }
        cx.extensions_mut().insert(identity);
        if let Some(trace) = cx.extensions_mut().get::<Arc<RequestTrace>>() {
            trace.input_awaited();
        }
        Ok(())
    }
}

impl Access {
    /// Has the request counted and logged when it is over, if its bucket wants that.
    fn observe(&self, cx: &mut S3AccessContext<'_>, identity: &Identity) {
        let Some(bucket) = cx.s3_path().get_bucket_name() else { return };
        let (counted, source) = (self.request_metrics.bucket(bucket), self.log.source(bucket));
        if counted.is_none() && source.is_none() {
            return;
        }
        let Some(trace) = cx.extensions_mut().get::<Arc<RequestTrace>>().cloned() else { return };
        let operation = cx.s3_op().name().to_owned();
        let key = cx.s3_path().get_object_key().map(str::to_owned);
        let line = source.map(|source| (source, asked(cx, identity, &trace)));
        let log = self.log.clone();
        trace.observe(Box::new(move |ended| {
            if let Some(counted) = counted {
                counted.count(&operation, key.as_deref(), &ended);
            }
            if let Some((source, asked)) = line {
                log.add(&source, &asked.line(&source.owner, &source.bucket, &ended));
            }
        }));
    }
}

/// What a log says of a request.
fn asked(cx: &S3AccessContext<'_>, identity: &Identity, trace: &RequestTrace) -> Asked {
    let header = |name: &str| {
        let value = cx.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let query = |name: &str| {
        let query = cx.uri().query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    };
    let sent_len = header("x-amz-decoded-content-length").or_else(|| header("content-length"));
    Asked {
        at_ms: now_ms(),
        address: trace.peer().address,
        encrypted: trace.peer().encrypted,
        requester: match identity {
            Identity::Anonymous => None,
            Identity::Key(key) | Identity::Session { key, .. } => Some(key.account.to_string()),
        },
        request: trace.id().to_owned(),
        operation: cx.s3_op().name().to_owned(),
        method: cx.method().to_string(),
        target: cx.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        key: cx.s3_path().get_object_key().map(str::to_owned),
        version: query("versionId"),
        referer: header("referer"),
        agent: header("user-agent"),
        host: header("host"),
        presigned: Signing::of(cx.headers(), cx.uri())
            .is_some_and(|signing| signing.carrier == Carrier::Query),
        sent_len: sent_len.and_then(|len| len.parse().ok()).filter(|len| *len > 0),
    }
}
