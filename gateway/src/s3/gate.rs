//! The way to a bucket: its rules, loaded for one caller, and the question put to the one decision.
//!
//! A bucket's owner costs nothing here: with no policy on the bucket and none on the key there is nothing that could
//! refuse it.

use std::sync::Arc;

use datamesh_catalog::{Bucket, ConfigKind, VersionMeta};
use datamesh_policy::{
    Acl, Action, Asked, BucketPolicy, BucketRules, ObjectRules, Ownership, PublicAccessBlock, ResourceName,
    decide,
};
use s3s::{S3Result, s3_error};

use super::S3Gateway;
use super::caller::{Caller, RequestFacts};

/// What a question is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    /// The bucket itself.
    Bucket,
    /// A key, whatever is there.
    Key(&'a str),
    /// What is stored at a key.
    Stored(&'a str, &'a VersionMeta),
}

/// A bucket's rules, as they are for one caller.
pub(super) struct Gate<'a> {
    caller: &'a Caller<'a>,
    bucket: &'a Bucket,
    /// The caller owns the bucket and nothing narrows that down.
    open: bool,
    policy: Option<Arc<BucketPolicy>>,
    acl: Option<Arc<Acl>>,
    block: Option<Arc<PublicAccessBlock>>,
    ownership: Option<Arc<Ownership>>,
}

impl S3Gateway {
    /// Loads what decides about this caller and this bucket.
    pub(super) async fn gate<'a>(&self, caller: &'a Caller<'a>, bucket: &'a Bucket) -> S3Result<Gate<'a>> {
        let owns = caller.account() == Some(bucket.account);
        let open = owns && caller.is_unlimited() && !bucket.configured.contains(ConfigKind::Policy);
        Ok(Gate {
            caller,
            bucket,
            open,
            policy: self.config(bucket, ConfigKind::Policy).await?,
            acl: self.config(bucket, ConfigKind::Acl).await?,
            block: self.config(bucket, ConfigKind::PublicAccessBlock).await?,
            ownership: self.config(bucket, ConfigKind::Ownership).await?,
        })
    }
}

impl Gate<'_> {
    /// # Errors
    /// `AccessDenied` when the caller may not do it.
    pub(super) fn check(&self, action: Action, about: About<'_>) -> S3Result<()> {
        if self.allows(action, about)? { Ok(()) } else { Err(s3_error!(AccessDenied)) }
    }

    /// Whether the caller may do it.
    pub(super) fn allows(&self, action: Action, about: About<'_>) -> S3Result<bool> {
        let stored = match about {
            About::Stored(_, meta) => Some(meta),
            About::Bucket | About::Key(_) => None,
        };
        let is_foreign = stored.and_then(|meta| meta.owner).is_some_and(|owner| owner != self.bucket.account);
        if self.open && !is_foreign {
            return Ok(true);
        }
        let acl: Option<Acl> = stored
            .and_then(|meta| meta.acl.as_deref())
            .map(|acl| serde_json::from_str(acl).map_err(|error| s3_error!(error, InternalError)))
            .transpose()?;
        let object = stored
            .map(|meta| ObjectRules { owner: meta.owner.unwrap_or(self.bucket.account), acl: acl.as_ref() });
        let tags = stored.and_then(|meta| meta.tags.as_deref());
        Ok(decide(self.asked(action, about, &self.facts(tags, None)), self.rules(), object))
    }

    /// Whether nobody in particular asks and no policy says what such callers may: what they may, the lists say.
    pub(super) fn is_anonymous_by_list(&self) -> bool {
        self.caller.account().is_none() && self.policy.is_none()
    }

    /// What to say of a key where nothing is: that there is nothing, to those who could list it.
    pub(super) fn allows_to_miss(&self, action: Action, key: &str) -> bool {
        let (facts, listing) = (self.facts(None, None), self.facts(None, Some(key)));
        self.open
            || self.asked(action, About::Key(key), &facts).is_within_limits()
                && decide(self.asked(Action::ListBucket, About::Bucket, &listing), self.rules(), None)
    }

    fn facts<'f>(&'f self, tags: Option<&'f str>, prefix: Option<&'f str>) -> RequestFacts<'f> {
        RequestFacts { caller: self.caller, bucket_owner: Some(self.bucket.account), tags, prefix }
    }

    fn asked<'q>(&'q self, action: Action, about: About<'q>, facts: &'q RequestFacts<'q>) -> Asked<'q> {
        let bucket = self.bucket.name.as_str();
        let resource = match about {
            About::Bucket => ResourceName::Bucket(bucket),
            About::Key(key) | About::Stored(key, _) => ResourceName::Object(bucket, key),
        };
        Asked { caller: self.caller.asker(), action, resource, facts }
    }

    fn rules(&self) -> BucketRules<'_> {
        BucketRules {
            owner: self.bucket.account,
            policy: self.policy.as_deref(),
            acl: self.acl.as_deref(),
            block: self.block.as_deref().copied(),
            ownership: self.ownership.as_deref().copied(),
        }
    }
}
