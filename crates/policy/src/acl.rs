//! Access control lists: who is granted what on a bucket or an object.

use datamesh_types::AccountId;
use serde::{Deserialize, Serialize};

/// S3's limit on the grants of one list.
pub const GRANTS_MAX: usize = 100;

const GROUPS: &str = "http://acs.amazonaws.com/groups/";

/// A set of askers that S3 defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Group {
    /// Everybody, also without an account.
    AllUsers,
    /// Everybody with an account, whichever.
    AuthenticatedUsers,
    /// The part of the system that writes access logs.
    LogDelivery,
}

impl Group {
    /// The group of this URI.
    pub fn from_uri(uri: &str) -> Option<Self> {
        match uri.strip_prefix(GROUPS)? {
            "global/AllUsers" => Some(Self::AllUsers),
            "global/AuthenticatedUsers" => Some(Self::AuthenticatedUsers),
            "s3/LogDelivery" => Some(Self::LogDelivery),
            _ => None,
        }
    }

    /// Its URI.
    pub fn uri(self) -> String {
        let name = match self {
            Self::AllUsers => "global/AllUsers",
            Self::AuthenticatedUsers => "global/AuthenticatedUsers",
            Self::LogDelivery => "s3/LogDelivery",
        };
        format!("{GROUPS}{name}")
    }

    fn is_public(self) -> bool {
        matches!(self, Self::AllUsers | Self::AuthenticatedUsers)
    }
}

/// Who is granted something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grantee {
    /// An account.
    Account(AccountId),
    /// A group.
    Group(Group),
}

/// What is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// List a bucket; read an object.
    Read,
    /// Write and delete a bucket's objects; nothing on an object.
    Write,
    /// Read the list.
    ReadAcp,
    /// Write the list.
    WriteAcp,
    /// All of them.
    FullControl,
}

impl Permission {
    /// In the order in which headers are read.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::ReadAcp, Self::WriteAcp, Self::FullControl];

    /// S3's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::ReadAcp => "READ_ACP",
            Self::WriteAcp => "WRITE_ACP",
            Self::FullControl => "FULL_CONTROL",
        }
    }

    /// The permission of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == name)
    }
}

/// One line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// To whom.
    pub grantee: Grantee,
    /// What.
    pub permission: Permission,
}

/// A list that a request names instead of spelling it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CannedAcl {
    /// For the owner alone.
    Private,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read and write.
    PublicReadWrite,
    /// Every account may read.
    AuthenticatedRead,
    /// The bucket's owner may read the object.
    BucketOwnerRead,
    /// The bucket's owner may do everything with the object.
    BucketOwnerFullControl,
    /// The logs of other buckets may be written into this one.
    LogDeliveryWrite,
}

impl CannedAcl {
    /// The list of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "private" => Self::Private,
            "public-read" => Self::PublicRead,
            "public-read-write" => Self::PublicReadWrite,
            "authenticated-read" => Self::AuthenticatedRead,
            "bucket-owner-read" => Self::BucketOwnerRead,
            "bucket-owner-full-control" => Self::BucketOwnerFullControl,
            "log-delivery-write" => Self::LogDeliveryWrite,
            _ => return None,
        })
    }
}

/// A list of grants. The owner has its rights beside it, and can always read and change it.
///
/// Groups come first, as in S3's own answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    grants: Vec<Grant>,
}

impl Acl {
    /// A list of these grants.
    pub fn new(mut grants: Vec<Grant>) -> Self {
        grants.sort_by_key(|grant| matches!(grant.grantee, Grantee::Account(_)));
        Self { grants }
    }

    /// What a canned list says for something of `owner` in a bucket of `bucket_owner`.
    pub fn canned(canned: CannedAcl, owner: AccountId, bucket_owner: AccountId) -> Self {
        use Permission::{FullControl, Read, ReadAcp, Write};
        let group = |group, permission| Grant { grantee: Grantee::Group(group), permission };
        let account = |account, permission| Grant { grantee: Grantee::Account(account), permission };
        let mut grants = match canned {
            CannedAcl::Private | CannedAcl::BucketOwnerRead | CannedAcl::BucketOwnerFullControl => Vec::new(),
            CannedAcl::PublicRead => vec![group(Group::AllUsers, Read)],
            CannedAcl::PublicReadWrite => vec![group(Group::AllUsers, Read), group(Group::AllUsers, Write)],
            CannedAcl::AuthenticatedRead => vec![group(Group::AuthenticatedUsers, Read)],
            CannedAcl::LogDeliveryWrite => {
                vec![group(Group::LogDelivery, Write), group(Group::LogDelivery, ReadAcp)]
            }
        };
        grants.push(account(owner, FullControl));
        match canned {
            CannedAcl::BucketOwnerRead if owner != bucket_owner => grants.push(account(bucket_owner, Read)),
            CannedAcl::BucketOwnerFullControl if owner != bucket_owner => {
                grants.push(account(bucket_owner, FullControl));
            }
            _ => {}
        }
        Self { grants }
    }

    /// The grants, in the order they are shown.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether it grants something to everybody, or to every account.
    pub fn is_public(&self) -> bool {
        self.grants.iter().any(|grant| matches!(grant.grantee, Grantee::Group(group) if group.is_public()))
    }

    /// Whether it says what no list would say too.
    pub fn is_private_to(&self, owner: AccountId) -> bool {
        self.grants.iter().all(|grant| grant.grantee == Grantee::Account(owner))
    }

    /// Whether it grants `permission` to somebody with this account, or without one. Grants to groups can be void.
    pub(crate) fn allows(
        &self,
        account: Option<AccountId>,
        permission: Permission,
        groups_count: bool,
    ) -> bool {
        self.grants.iter().any(|grant| {
            let given = grant.permission == permission || grant.permission == Permission::FullControl;
            let meant = match grant.grantee {
                Grantee::Account(grantee) => account == Some(grantee),
                Grantee::Group(Group::AllUsers) => groups_count,
                Grantee::Group(Group::AuthenticatedUsers) => groups_count && account.is_some(),
                Grantee::Group(Group::LogDelivery) => false,
            };
            given && meant
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: AccountId = AccountId([1; 16]);
    const OTHER: AccountId = AccountId([2; 16]);

    #[test]
    fn groups_are_shown_first_and_stored_as_they_are() {
        let grants = vec![
            Grant { grantee: Grantee::Account(OWNER), permission: Permission::FullControl },
            Grant { grantee: Grantee::Group(Group::AllUsers), permission: Permission::Read },
        ];
        let acl = Acl::new(grants);
        assert_eq!(acl, Acl::canned(CannedAcl::PublicRead, OWNER, OWNER));
        let stored = serde_json::to_string(&acl).unwrap();
        assert_eq!(
            stored,
            format!(
                r#"{{"grants":[{{"grantee":{{"group":"AllUsers"}},"permission":"READ"}},{{"grantee":{{"account":"{OWNER}"}},"permission":"FULL_CONTROL"}}]}}"#
            )
        );
        assert_eq!(serde_json::from_str::<Acl>(&stored).unwrap(), acl);
    }

    #[test]
    fn a_canned_list_grants_what_its_name_says() {
        let cases = [
            (CannedAcl::Private, [false; 4]),
            (CannedAcl::PublicRead, [true, false, true, false]),
            (CannedAcl::PublicReadWrite, [true, true, true, true]),
            (CannedAcl::AuthenticatedRead, [false, false, true, false]),
            (CannedAcl::LogDeliveryWrite, [false; 4]),
        ];
        for (canned, expected) in cases {
            let acl = Acl::canned(canned, OWNER, OWNER);
            let allowed = [(None, Permission::Read), (None, Permission::Write)]
                .into_iter()
                .chain([(Some(OTHER), Permission::Read), (Some(OTHER), Permission::Write)])
                .map(|(who, permission)| acl.allows(who, permission, true));
            assert_eq!(allowed.collect::<Vec<_>>(), expected, "{canned:?}");
            assert_eq!(acl.is_public(), expected.contains(&true), "{canned:?}");
            assert!(!acl.allows(Some(OTHER), Permission::Read, false), "void grants to groups");
        }
        let acl = Acl::canned(CannedAcl::BucketOwnerRead, OTHER, OWNER);
        assert!(acl.allows(Some(OWNER), Permission::Read, true) && !acl.is_public());
        assert!(!acl.allows(Some(OWNER), Permission::ReadAcp, true));
    }
}
