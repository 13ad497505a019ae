//! The one decision: may this caller do this?
//!
//! In the order of the questions: may the key and the session do it at all; does the bucket's policy deny it; does the
//! policy allow it; does the caller own what it asks about; does an access control list grant it. Anything else is
//! refused.

use datamesh_types::AccountId;

use crate::acl::{Acl, Permission};
use crate::action::{Action, Level};
use crate::block::PublicAccessBlock;
use crate::document::{BucketPolicy, Policy, Verdict};
use crate::facts::Facts;
use crate::ownership::Ownership;
use crate::principal::Asker;
use crate::resource::ResourceName;

/// Somebody with an account.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The account.
    pub account: AccountId,
    /// The key or session, as an ARN.
    pub arn: &'a str,
    /// The policy of the key, if it has one.
    pub key_policy: Option<&'a Policy>,
    /// The policy of the session, if there is one.
    pub session_policy: Option<&'a Policy>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// Nobody in particular.
    Anonymous,
    /// Somebody with an account.
    Member(Member<'a>),
    /// A part of this system, by its name in policies.
    Service(&'a str),
}

impl<'a> Caller<'a> {
    fn account(&self) -> Option<AccountId> {
        match self {
            Self::Member(member) => Some(member.account),
            Self::Anonymous | Self::Service(_) => None,
        }
    }

    fn asker(&self) -> Asker<'a> {
        match *self {
            Self::Anonymous => Asker::Anonymous,
            Self::Member(member) => Asker::Account(member.account, member.arn),
            Self::Service(name) => Asker::Service(name),
        }
    }
}

/// What is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// By whom.
    pub caller: Caller<'a>,
    /// To do what.
    pub action: Action,
    /// On what.
    pub resource: ResourceName<'a>,
    /// What else is known of the request.
    pub facts: &'a dyn Facts,
}

/// The rules of a bucket. What is not set is `None`.
#[derive(Debug, Clone, Copy)]
pub struct BucketRules<'a> {
    /// Its account.
    pub owner: AccountId,
    /// Its policy.
    pub policy: Option<&'a BucketPolicy>,
    /// Its own list; without one it is the owner's alone.
    pub acl: Option<&'a Acl>,
    /// Its public access block.
    pub block: Option<PublicAccessBlock>,
    /// Its object ownership.
    pub ownership: Option<Ownership>,
}

/// The rules of an object that exists.
#[derive(Debug, Clone, Copy)]
pub struct ObjectRules<'a> {
    /// The account that wrote it.
    pub owner: AccountId,
    /// Its own list; without one it is the owner's alone.
    pub acl: Option<&'a Acl>,
}

/// Whether the caller may do what it asks.
///
/// `object` is the object that an action on an existing object is about; `None` for actions on a bucket, for writing,
/// and where there is no object.
pub fn decide(asked: Asked<'_>, bucket: BucketRules<'_>, object: Option<ObjectRules<'_>>) -> bool {
    if !identity_allows(asked) {
        return false;
    }
    let account = asked.caller.account();
    let acls_count = bucket.ownership != Some(Ownership::BucketOwnerEnforced);
    let object_owner = object.filter(|_| acls_count).map_or(bucket.owner, |object| object.owner);
    let owns_bucket = account == Some(bucket.owner);
    if let Some(policy) = bucket.policy {
        match policy.policy().evaluate(asked.caller.asker(), asked.action, asked.resource, asked.facts) {
            Verdict::Denied => {
                let repairs = owns_bucket && is_about_policy(asked.action) && !policy.binds_owner();
                if !repairs {
                    return false;
                }
            }
            Verdict::Allowed => {
                let restricted = bucket.block.is_some_and(|block| block.restrict_public_buckets)
                    && policy.is_public()
                    && !owns_bucket
                    && !matches!(asked.caller, Caller::Service(_));
                // A bucket's owner cannot give away what others own in it.
                let is_foreign = object_owner != bucket.owner && !bucket_owner_may(asked.action);
                if !restricted && !is_foreign {
                    return true;
                }
            }
            Verdict::Silent => {}
        }
    }
    if owns_bucket && (object_owner == bucket.owner || bucket_owner_may(asked.action)) {
        return true;
    }
    let owns_object = object.is_some() && account == Some(object_owner);
    if owns_object && object_owner_may(asked.action) {
        return true;
    }
    acls_count && granted(asked.action, account, bucket, object)
}

/// Whether the key's and the session's policies allow it. Only they limit what is not about a bucket that exists.
fn identity_allows(asked: Asked<'_>) -> bool {
    let Caller::Member(member) = asked.caller else { return true };
    let allows = |policy: &Policy| {
        policy.evaluate(asked.caller.asker(), asked.action, asked.resource, asked.facts) == Verdict::Allowed
    };
    member.key_policy.is_none_or(allows) && member.session_policy.is_none_or(allows)
}

impl Asked<'_> {
    /// Whether the policies of the key and the session allow it; they never give more than there is.
    pub fn is_within_limits(self) -> bool {
        identity_allows(self)
    }

    /// The caller's account, when it may do what is about that alone: its key and session allow it.
    pub fn of_own_account(self) -> Option<AccountId> {
        self.caller.account().filter(|_| identity_allows(self))
    }
}

fn is_about_policy(action: Action) -> bool {
    matches!(action, Action::GetBucketPolicy | Action::PutBucketPolicy | Action::DeleteBucketPolicy)
}

/// What a bucket's owner may do to an object of somebody else: everything but read it and say who else may.
fn bucket_owner_may(action: Action) -> bool {
    match action.level() {
        Level::Account | Level::Bucket => true,
        Level::Object => matches!(
            action,
            Action::AbortMultipartUpload
                | Action::BypassGovernanceRetention
                | Action::DeleteObject
                | Action::DeleteObjectVersion
                | Action::GetObjectLegalHold
                | Action::GetObjectRetention
                | Action::ListMultipartUploadParts
                | Action::PutObject
                | Action::PutObjectLegalHold
                | Action::PutObjectRetention
                | Action::RestoreObject
        ),
    }
}

/// What an object's owner may do to it in the bucket of somebody else.
fn object_owner_may(action: Action) -> bool {
    matches!(
        action,
        Action::DeleteObjectTagging
            | Action::DeleteObjectVersionTagging
            | Action::GetObject
            | Action::GetObjectAcl
            | Action::GetObjectAttributes
            | Action::GetObjectLegalHold
            | Action::GetObjectRetention
            | Action::GetObjectTagging
            | Action::GetObjectVersion
            | Action::GetObjectVersionAcl
            | Action::GetObjectVersionAttributes
            | Action::GetObjectVersionTagging
            | Action::AbortMultipartUpload
            | Action::ListMultipartUploadParts
            | Action::PutObjectAcl
            | Action::PutObjectTagging
            | Action::PutObjectVersionAcl
            | Action::PutObjectVersionTagging
    )
}

/// Whether a list grants it.
fn granted(
    action: Action,
    account: Option<AccountId>,
    bucket: BucketRules<'_>,
    object: Option<ObjectRules<'_>>,
) -> bool {
    let (acl, permission) = match action {
        Action::ListBucket | Action::ListBucketMultipartUploads | Action::ListBucketVersions => {
            (bucket.acl, Permission::Read)
        }
        Action::PutObject
        | Action::DeleteObject
        | Action::AbortMultipartUpload
        | Action::ListMultipartUploadParts => (bucket.acl, Permission::Write),
        Action::GetBucketAcl => (bucket.acl, Permission::ReadAcp),
        Action::PutBucketAcl => (bucket.acl, Permission::WriteAcp),
        Action::GetObject
        | Action::GetObjectAttributes
        | Action::GetObjectVersion
        | Action::GetObjectVersionAttributes => (object.and_then(|object| object.acl), Permission::Read),
        Action::GetObjectAcl | Action::GetObjectVersionAcl => {
            (object.and_then(|object| object.acl), Permission::ReadAcp)
        }
        Action::PutObjectAcl | Action::PutObjectVersionAcl => {
            (object.and_then(|object| object.acl), Permission::WriteAcp)
        }
        _ => return false,
    };
    let groups_count = !bucket.block.is_some_and(|block| block.ignore_public_acls);
    acl.is_some_and(|acl| acl.allows(account, permission, groups_count))
}

#[cfg(test)]
mod tests;
