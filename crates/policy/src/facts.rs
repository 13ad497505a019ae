//! What a policy's conditions and variables may ask of a request.

use std::borrow::Cow;

use crate::error::PolicyError;

/// Answers what conditions ask. Only asked when a policy has conditions or variables.
pub trait Facts {
    /// The values of a fact; none when the request does not have it.
    fn values(&self, fact: &Fact) -> Vec<Cow<'_, str>>;
}

/// A request of which nothing is known.
#[derive(Debug, Clone, Copy)]
pub struct NoFacts;

impl Facts for NoFacts {
    fn values(&self, _fact: &Fact) -> Vec<Cow<'_, str>> {
        Vec::new()
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident = $key:literal,)*) => {
        /// A condition key.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Fact {
            $($(#[$doc])* $name,)*
            /// `s3:ExistingObjectTag/KEY`: a tag of the object.
            ExistingObjectTag(String),
            /// `s3:RequestObjectTag/KEY`: a tag in the request.
            RequestObjectTag(String),
            /// A key that clouds have and this system never knows a value of.
            NeverKnown,
        }

        /// Keys without a variable part, in lower case.
        const KEYS: &[(&str, Fact)] = &[$(($key, Fact::$name),)*];
    };
}

facts! {
    /// When the request is decided, ISO 8601.
    CurrentTime = "aws:currenttime",
    /// When the request is decided, seconds since 1970.
    EpochTime = "aws:epochtime",
    /// The account that asks.
    PrincipalAccount = "aws:principalaccount",
    /// Who asks, as an ARN.
    PrincipalArn = "aws:principalarn",
    /// `Account`, `User`, `AssumedRole` or `Anonymous`.
    PrincipalType = "aws:principaltype",
    /// Who asks, as an id.
    UserId = "aws:userid",
    /// Who asks, as a name.
    UserName = "aws:username",
    /// The `Referer` header.
    Referer = "aws:referer",
    /// The `User-Agent` header.
    UserAgent = "aws:useragent",
    /// The client's address.
    SourceIp = "aws:sourceip",
    /// Whether the connection is encrypted.
    SecureTransport = "aws:securetransport",
    /// The region asked.
    RequestedRegion = "aws:requestedregion",
    /// The bucket's account.
    ResourceAccount = "aws:resourceaccount",
    /// For whom a service asks: a bucket.
    SourceArn = "aws:sourcearn",
    /// For whom a service asks: an account.
    SourceAccount = "aws:sourceaccount",
    /// Whether a service of this system asks.
    IsService = "aws:principalisawsservice",
    /// When temporary credentials were made.
    TokenIssueTime = "aws:tokenissuetime",
    /// The bucket's account.
    S3ResourceAccount = "s3:resourceaccount",
    /// `prefix` of a listing.
    Prefix = "s3:prefix",
    /// `delimiter` of a listing.
    Delimiter = "s3:delimiter",
    /// `max-keys` of a listing.
    MaxKeys = "s3:max-keys",
    /// `versionId`.
    VersionId = "s3:versionid",
    /// `REST-HEADER`, `REST-QUERY-STRING` or `POST`.
    AuthType = "s3:authtype",
    /// `AWS4-HMAC-SHA256`, or `AWS` for version 2.
    SignatureVersion = "s3:signatureversion",
    /// Milliseconds since a presigned URL was signed.
    SignatureAge = "s3:signatureage",
    /// The region that a bucket is created in.
    LocationConstraint = "s3:locationconstraint",
    /// `x-amz-acl`.
    Acl = "s3:x-amz-acl",
    /// `x-amz-grant-full-control`.
    GrantFullControl = "s3:x-amz-grant-full-control",
    /// `x-amz-grant-read`.
    GrantRead = "s3:x-amz-grant-read",
    /// `x-amz-grant-read-acp`.
    GrantReadAcp = "s3:x-amz-grant-read-acp",
    /// `x-amz-grant-write`.
    GrantWrite = "s3:x-amz-grant-write",
    /// `x-amz-grant-write-acp`.
    GrantWriteAcp = "s3:x-amz-grant-write-acp",
    /// `x-amz-copy-source`, without a leading slash.
    CopySource = "s3:x-amz-copy-source",
    /// `x-amz-metadata-directive`.
    MetadataDirective = "s3:x-amz-metadata-directive",
    /// `x-amz-server-side-encryption`.
    Encryption = "s3:x-amz-server-side-encryption",
    /// `x-amz-server-side-encryption-aws-kms-key-id`.
    EncryptionKeyId = "s3:x-amz-server-side-encryption-aws-kms-key-id",
    /// `x-amz-server-side-encryption-customer-algorithm`.
    CustomerAlgorithm = "s3:x-amz-server-side-encryption-customer-algorithm",
    /// `x-amz-storage-class`.
    StorageClass = "s3:x-amz-storage-class",
    /// `x-amz-content-sha256`.
    ContentSha256 = "s3:x-amz-content-sha256",
    /// `x-amz-website-redirect-location`.
    WebsiteRedirect = "s3:x-amz-website-redirect-location",
    /// `x-amz-object-ownership`.
    ObjectOwnership = "s3:x-amz-object-ownership",
    /// `x-amz-object-lock-mode`.
    ObjectLockMode = "s3:object-lock-mode",
    /// `x-amz-object-lock-retain-until-date`.
    ObjectLockRetainUntil = "s3:object-lock-retain-until-date",
    /// Days until the date in the request.
    ObjectLockRemainingDays = "s3:object-lock-remaining-retention-days",
    /// `x-amz-object-lock-legal-hold`.
    ObjectLockLegalHold = "s3:object-lock-legal-hold",
    /// The keys of the tags in the request.
    RequestObjectTagKeys = "s3:requestobjecttagkeys",
    /// `If-Match`.
    IfMatch = "s3:if-match",
    /// `If-None-Match`.
    IfNoneMatch = "s3:if-none-match",
}

/// Keys that examples use and that have no meaning here: no request has a value for them.
const NEVER_KNOWN: &[&str] = &[
    "aws:calledvia",
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:sourceorgid",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:viaawsservice",
    "aws:vpcsourceip",
    "s3:accessgrantsinstancearn",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:inventoryaccessibleoptionalfields",
    "s3:tlsversion",
];

impl Fact {
    /// The condition key of this name, whatever its case.
    ///
    /// # Errors
    /// [`PolicyError::ConditionKey`].
    pub fn parse(name: &str) -> Result<Self, PolicyError> {
        let lower = name.to_ascii_lowercase();
        if let Some((_, fact)) = KEYS.iter().find(|(key, _)| *key == lower) {
            return Ok(fact.clone());
        }
        // A tag's own key keeps its case.
        let tag = |prefix: &str| lower.starts_with(prefix).then(|| name[prefix.len()..].to_owned());
        if let Some(tag) = tag("s3:existingobjecttag/").filter(|tag| !tag.is_empty()) {
            return Ok(Self::ExistingObjectTag(tag));
        }
        if let Some(tag) = tag("s3:requestobjecttag/").filter(|tag| !tag.is_empty()) {
            return Ok(Self::RequestObjectTag(tag));
        }
        let with_tag = ["aws:principaltag/", "aws:requesttag/", "aws:resourcetag/"];
        if NEVER_KNOWN.contains(&lower.as_str()) || with_tag.iter().any(|prefix| lower.starts_with(prefix)) {
            return Ok(Self::NeverKnown);
        }
        Err(PolicyError::ConditionKey { key: name.to_owned() })
    }

    /// Whether a fixed value of it narrows down who asks, so that a grant to everybody is not public.
    pub(crate) fn names_who_asks(&self) -> bool {
        matches!(
            self,
            Self::PrincipalAccount
                | Self::PrincipalArn
                | Self::SourceAccount
                | Self::SourceArn
                | Self::SourceIp
                | Self::UserId
                | Self::NeverKnown
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_case_but_tags_do() {
        assert_eq!(Fact::parse("AWS:sourceIP"), Ok(Fact::SourceIp));
        assert_eq!(Fact::parse("s3:existingobjecttag/Team"), Ok(Fact::ExistingObjectTag("Team".into())));
        assert_eq!(Fact::parse("aws:PrincipalOrgID"), Ok(Fact::NeverKnown));
        for unknown in ["", "s3:", "aws:Nothing", "s3:ExistingObjectTag/", "SourceIp"] {
            assert!(Fact::parse(unknown).is_err(), "{unknown:?}");
        }
    }
}
