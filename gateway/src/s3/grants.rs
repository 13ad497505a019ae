//! Access control lists as requests write them and answers show them: headers and documents.

use std::borrow::Cow;

use datamesh_policy::{Acl, CannedAcl, GRANTS_MAX, Grant, Grantee, Group, Permission};
use datamesh_types::AccountId;
use http::HeaderMap;
use s3s::dto::{
    AccessControlPolicy, Grant as ShownGrant, Grantee as ShownGrantee, Owner, Permission as ShownPermission,
    Type,
};
use s3s::{S3Result, s3_error};

use super::{S3Gateway, errors};

/// What a request asks of a list in its headers.
#[derive(Debug, Default)]
pub(super) struct AskedAcl<'a> {
    /// A canned list, by name.
    canned: Option<Cow<'a, str>>,
    /// Grants, as the headers spell them.
    grants: Vec<(Permission, Cow<'a, str>)>,
}

/// The list that headers ask for.
pub(super) enum HeaderAcl {
    /// None.
    Unset,
    /// One by name.
    Canned(CannedAcl),
    /// One spelled out.
    Explicit(Acl),
}

const fn header_of(permission: Permission) -> &'static str {
    match permission {
        Permission::Read => "x-amz-grant-read",
        Permission::Write => "x-amz-grant-write",
        Permission::ReadAcp => "x-amz-grant-read-acp",
        Permission::WriteAcp => "x-amz-grant-write-acp",
        Permission::FullControl => "x-amz-grant-full-control",
    }
}

impl<'a> AskedAcl<'a> {
    /// Reads a request's headers.
    ///
    /// # Errors
    /// `InvalidArgument` for a header that is no text.
    pub(super) fn from_headers(headers: &'a HeaderMap) -> S3Result<Self> {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| value.to_str());
            value.transpose().map_err(|_| s3_error!(InvalidArgument, "{name} is no text"))
        };
        let mut asked = Self { canned: text("x-amz-acl")?.map(Cow::Borrowed), grants: Vec::new() };
        for permission in Permission::ALL {
            if let Some(grantees) = text(header_of(permission))? {
                asked.grants.push((permission, grantees.into()));
            }
        }
        Ok(asked)
    }

    /// Whether it asks for nothing.
    pub(super) fn is_unset(&self) -> bool {
        self.canned.is_none() && self.grants.is_empty()
    }
}

impl S3Gateway {
    /// The list that a request's headers ask for.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown list or grantee, `InvalidRequest` for a list by name and grants together.
    pub(super) async fn header_acl(&self, asked: &AskedAcl<'_>) -> S3Result<HeaderAcl> {
        let Some(name) = &asked.canned else {
            if asked.grants.is_empty() {
                return Ok(HeaderAcl::Unset);
            }
            let mut grants = Vec::new();
            for (permission, grantees) in &asked.grants {
                for grantee in grantees.split(',') {
                    let grantee = self.header_grantee(grantee.trim()).await?;
                    grants.push(Grant { grantee, permission: *permission });
                }
            }
            return list(grants).map(HeaderAcl::Explicit);
        };
        if !asked.grants.is_empty() {
            return Err(s3_error!(
                InvalidRequest,
                "Specifying both Canned ACLs and Header Grants is not allowed"
            ));
        }
        let canned = CannedAcl::parse(name).ok_or_else(|| s3_error!(InvalidArgument, "Unknown x-amz-acl"))?;
        Ok(HeaderAcl::Canned(canned))
    }

    /// `id="..."`, `uri="..."` or `emailAddress="..."`.
    async fn header_grantee(&self, text: &str) -> S3Result<Grantee> {
        let malformed = || s3_error!(InvalidArgument, "Argument format not recognized");
        let (kind, value) = text.split_once('=').ok_or_else(malformed)?;
        let value = value.trim().trim_matches('"');
        match kind.trim() {
            "id" => self.account_grantee(value).await,
            "uri" => group_grantee(value),
            "emailAddress" => self.email_grantee(value).await,
            _ => Err(malformed()),
        }
    }

    /// The list in a request's document, for something of `owner`.
    ///
    /// # Errors
    /// `MalformedACLError`; `AccessDenied` for a document that names another owner; `InvalidArgument` and
    /// `UnresolvableGrantByEmailAddress` for grantees that are not there.
    pub(super) async fn document_acl(
        &self,
        document: AccessControlPolicy,
        owner: AccountId,
    ) -> S3Result<Acl> {
        if document.owner.and_then(|named| named.id).is_some_and(|named| named != owner.to_string()) {
            return Err(s3_error!(AccessDenied));
        }
        let mut grants = Vec::new();
        for grant in document.grants.unwrap_or_default() {
            let malformed = || s3_error!(MalformedACLError);
            let named = grant.permission.as_ref().and_then(|named| Permission::parse(named.as_str()));
            let permission = named.ok_or_else(malformed)?;
            let grantee = self.document_grantee(grant.grantee.ok_or_else(malformed)?).await?;
            grants.push(Grant { grantee, permission });
        }
        list(grants)
    }

    async fn document_grantee(&self, grantee: ShownGrantee) -> S3Result<Grantee> {
        match grantee {
            ShownGrantee { id: Some(id), .. } => self.account_grantee(&id).await,
            ShownGrantee { uri: Some(uri), .. } => group_grantee(&uri),
            ShownGrantee { email_address: Some(address), .. } => self.email_grantee(&address).await,
            _ => Err(s3_error!(MalformedACLError)),
        }
    }

    async fn account_grantee(&self, id: &str) -> S3Result<Grantee> {
        if let Ok(account) = id.parse()
            && self.accounts.display_name(account).await.map_err(errors::accounts)?.is_some()
        {
            return Ok(Grantee::Account(account));
        }
        Err(s3_error!(InvalidArgument, "Invalid id"))
    }

    async fn email_grantee(&self, address: &str) -> S3Result<Grantee> {
        // An id is found by the same question, and is no address.
        let address = Some(address).filter(|address| address.contains('@'));
        if let Some(address) = address
            && let Some(user) = self.accounts.find_user(address).await.map_err(errors::accounts)?
        {
            return Ok(Grantee::Account(user.id));
        }
        Err(s3_error!(UnresolvableGrantByEmailAddress))
    }

    /// The owner and the grants of a list, or of what has none.
    pub(super) async fn shown_acl(
        &self,
        acl: Option<&Acl>,
        owner: AccountId,
    ) -> S3Result<(Owner, Vec<ShownGrant>)> {
        let private;
        let acl = if let Some(acl) = acl {
            acl
        } else {
            private = Acl::canned(CannedAcl::Private, owner, owner);
            &private
        };
        let mut shown = Vec::with_capacity(acl.grants().len());
        for grant in acl.grants() {
            let grantee = match grant.grantee {
                Grantee::Group(group) => ShownGrantee {
                    display_name: None,
                    email_address: None,
                    id: None,
                    type_: Type::from_static(Type::GROUP),
                    uri: Some(group.uri()),
                },
                Grantee::Account(account) => {
                    let Owner { display_name, id } = self.shown_owner(account).await?;
                    let type_ = Type::from_static(Type::CANONICAL_USER);
                    ShownGrantee { display_name, email_address: None, id, type_, uri: None }
                }
            };
            let permission = Some(ShownPermission::from_static(grant.permission.name()));
            shown.push(ShownGrant { grantee: Some(grantee), permission });
        }
        Ok((self.shown_owner(owner).await?, shown))
    }
}

fn group_grantee(uri: &str) -> S3Result<Grantee> {
    Group::from_uri(uri).map(Grantee::Group).ok_or_else(|| s3_error!(InvalidArgument, "Invalid group uri"))
}

fn list(grants: Vec<Grant>) -> S3Result<Acl> {
    if grants.len() > GRANTS_MAX {
        return Err(s3_error!(MalformedACLError, "A list has at most {GRANTS_MAX} grants."));
    }
    Ok(Acl::new(grants))
}
