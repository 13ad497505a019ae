//! What can be asked for: the actions that policies name.

use std::fmt;

/// What an action works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The account.
    Account,
    /// A bucket.
    Bucket,
    /// An object, or a key that none may have.
    Object,
}

macro_rules! actions {
    ($($level:ident { $($name:ident = $text:literal,)* })*) => {
        /// An action, by the name that policies use.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(
                #[doc = concat!("`", $text, "`")]
                $name,
            )*)*
        }

        impl Action {
            /// All there are.
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

            /// The name in policies.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$name => $text,)*)*
                }
            }

            /// What it works on.
            pub const fn level(self) -> Level {
                match self {
                    $($(Self::$name)|* => Level::$level,)*
                }
            }
        }
    };
}

actions! {
    Account {
        AssumeRole = "sts:AssumeRole",
        GetCallerIdentity = "sts:GetCallerIdentity",
        GetSessionToken = "sts:GetSessionToken",
        ListAllMyBuckets = "s3:ListAllMyBuckets",
    }
    Bucket {
        CreateBucket = "s3:CreateBucket",
        DeleteBucket = "s3:DeleteBucket",
        DeleteBucketPolicy = "s3:DeleteBucketPolicy",
        DeleteBucketWebsite = "s3:DeleteBucketWebsite",
        GetAccelerateConfiguration = "s3:GetAccelerateConfiguration",
        GetAnalyticsConfiguration = "s3:GetAnalyticsConfiguration",
        GetBucketAbac = "s3:GetBucketAbac",
        GetBucketAcl = "s3:GetBucketAcl",
        GetBucketCors = "s3:GetBucketCORS",
        GetBucketLocation = "s3:GetBucketLocation",
        GetBucketLogging = "s3:GetBucketLogging",
        GetBucketMetadataTableConfiguration = "s3:GetBucketMetadataTableConfiguration",
        GetBucketNotification = "s3:GetBucketNotification",
        GetBucketObjectLockConfiguration = "s3:GetBucketObjectLockConfiguration",
        GetBucketOwnershipControls = "s3:GetBucketOwnershipControls",
        GetBucketPolicy = "s3:GetBucketPolicy",
        GetBucketPolicyStatus = "s3:GetBucketPolicyStatus",
        GetBucketPublicAccessBlock = "s3:GetBucketPublicAccessBlock",
        GetBucketRequestPayment = "s3:GetBucketRequestPayment",
        GetBucketTagging = "s3:GetBucketTagging",
        GetBucketVersioning = "s3:GetBucketVersioning",
        GetBucketWebsite = "s3:GetBucketWebsite",
        GetEncryptionConfiguration = "s3:GetEncryptionConfiguration",
        GetIntelligentTieringConfiguration = "s3:GetIntelligentTieringConfiguration",
        GetInventoryConfiguration = "s3:GetInventoryConfiguration",
        GetLifecycleConfiguration = "s3:GetLifecycleConfiguration",
        GetMetricsConfiguration = "s3:GetMetricsConfiguration",
        GetReplicationConfiguration = "s3:GetReplicationConfiguration",
        ListBucket = "s3:ListBucket",
        ListBucketMultipartUploads = "s3:ListBucketMultipartUploads",
        ListBucketVersions = "s3:ListBucketVersions",
        PutAccelerateConfiguration = "s3:PutAccelerateConfiguration",
        PutAnalyticsConfiguration = "s3:PutAnalyticsConfiguration",
        PutBucketAcl = "s3:PutBucketAcl",
        PutBucketCors = "s3:PutBucketCORS",
        PutBucketLogging = "s3:PutBucketLogging",
        PutBucketNotification = "s3:PutBucketNotification",
        PutBucketObjectLockConfiguration = "s3:PutBucketObjectLockConfiguration",
        PutBucketOwnershipControls = "s3:PutBucketOwnershipControls",
        PutBucketPolicy = "s3:PutBucketPolicy",
        PutBucketPublicAccessBlock = "s3:PutBucketPublicAccessBlock",
        PutBucketRequestPayment = "s3:PutBucketRequestPayment",
        PutBucketTagging = "s3:PutBucketTagging",
        PutBucketVersioning = "s3:PutBucketVersioning",
        PutBucketWebsite = "s3:PutBucketWebsite",
        PutEncryptionConfiguration = "s3:PutEncryptionConfiguration",
        PutIntelligentTieringConfiguration = "s3:PutIntelligentTieringConfiguration",
        PutInventoryConfiguration = "s3:PutInventoryConfiguration",
        PutLifecycleConfiguration = "s3:PutLifecycleConfiguration",
        PutMetricsConfiguration = "s3:PutMetricsConfiguration",
        PutReplicationConfiguration = "s3:PutReplicationConfiguration",
    }
    Object {
        AbortMultipartUpload = "s3:AbortMultipartUpload",
        BypassGovernanceRetention = "s3:BypassGovernanceRetention",
        DeleteObject = "s3:DeleteObject",
        DeleteObjectTagging = "s3:DeleteObjectTagging",
        DeleteObjectVersion = "s3:DeleteObjectVersion",
        DeleteObjectVersionTagging = "s3:DeleteObjectVersionTagging",
        GetObject = "s3:GetObject",
        GetObjectAcl = "s3:GetObjectAcl",
        GetObjectAttributes = "s3:GetObjectAttributes",
        GetObjectLegalHold = "s3:GetObjectLegalHold",
        GetObjectRetention = "s3:GetObjectRetention",
        GetObjectTagging = "s3:GetObjectTagging",
        GetObjectVersion = "s3:GetObjectVersion",
        GetObjectVersionAcl = "s3:GetObjectVersionAcl",
        GetObjectVersionAttributes = "s3:GetObjectVersionAttributes",
        GetObjectVersionTagging = "s3:GetObjectVersionTagging",
        ListMultipartUploadParts = "s3:ListMultipartUploadParts",
        PutObject = "s3:PutObject",
        PutObjectAcl = "s3:PutObjectAcl",
        PutObjectLegalHold = "s3:PutObjectLegalHold",
        PutObjectRetention = "s3:PutObjectRetention",
        PutObjectTagging = "s3:PutObjectTagging",
        PutObjectVersionAcl = "s3:PutObjectVersionAcl",
        PutObjectVersionTagging = "s3:PutObjectVersionTagging",
        RestoreObject = "s3:RestoreObject",
    }
}

impl Action {
    /// The action that the same request is when it names a version.
    #[must_use]
    pub const fn of_version(self) -> Self {
        match self {
            Self::DeleteObject => Self::DeleteObjectVersion,
            Self::DeleteObjectTagging => Self::DeleteObjectVersionTagging,
            Self::GetObject => Self::GetObjectVersion,
            Self::GetObjectAcl => Self::GetObjectVersionAcl,
            Self::GetObjectAttributes => Self::GetObjectVersionAttributes,
            Self::GetObjectTagging => Self::GetObjectVersionTagging,
            Self::PutObjectAcl => Self::PutObjectVersionAcl,
            Self::PutObjectTagging => Self::PutObjectVersionTagging,
            other => other,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
