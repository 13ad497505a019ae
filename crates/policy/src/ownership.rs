//! Who owns what others write into a bucket.

use datamesh_types::AccountId;
use serde::{Deserialize, Serialize};

use crate::acl::CannedAcl;

/// A bucket's object ownership. A bucket without one is an [`Ownership::ObjectWriter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// The bucket's account owns all objects; access control lists are off.
    BucketOwnerEnforced,
    /// It owns what is written with `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// Who writes an object owns it.
    ObjectWriter,
}

impl Ownership {
    /// Who owns an object that `writer` writes with `canned`.
    pub fn owner_of(
        self,
        writer: AccountId,
        bucket_owner: AccountId,
        canned: Option<CannedAcl>,
    ) -> AccountId {
        match self {
            Self::BucketOwnerEnforced => bucket_owner,
            Self::BucketOwnerPreferred if canned == Some(CannedAcl::BucketOwnerFullControl) => bucket_owner,
            Self::BucketOwnerPreferred | Self::ObjectWriter => writer,
        }
    }
}
