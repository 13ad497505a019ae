//! What is kept beside a version and may change after it was written: tags, ACL, owner, retention, legal hold.
//!
//! Changes are bound to the version that was looked up, not to its key: what was decided about one version never
//! lands on another that has taken its place.

use std::sync::Arc;

use datamesh_db::{Row, Tx, Value};
use datamesh_types::AccountId;

use crate::outbox::announce_amended;
use crate::{Catalog, CatalogError, Version};

/// How firmly a retention holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionMode {
    /// Whoever may bypass it can delete the version or shorten the retention.
    Governance,
    /// Nobody can, before it ends.
    Compliance,
}

/// Until when a version may not be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How firmly.
    pub mode: RetentionMode,
    /// The end, in milliseconds since 1970.
    pub until_ms: u64,
}

/// What is kept beside a version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionMeta {
    /// Tags, as opaque JSON.
    pub tags: Option<String>,
    /// The access control list, as opaque JSON; `None` is the owner's alone.
    pub acl: Option<String>,
    /// The account that wrote it; `None` is the bucket's owner.
    pub owner: Option<AccountId>,
    /// Until when it may not be deleted.
    pub retention: Option<Retention>,
    /// Whether it may not be deleted until further notice.
    pub legal_hold: bool,
}

impl VersionMeta {
    /// Nothing beside the version.
    pub const NONE: Self = Self { tags: None, acl: None, owner: None, retention: None, legal_hold: false };

    /// As parameters in the order of `meta_columns!`.
    pub(crate) fn params(&self) -> [Value; 6] {
        let (mode, until) = retention_params(self.retention);
        [
            self.tags.as_ref().into(),
            self.acl.as_ref().into(),
            self.owner.into(),
            mode,
            until,
            self.legal_hold.into(),
        ]
    }
}

impl RetentionMode {
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Governance => 1,
            Self::Compliance => 2,
        }
    }

    const fn from_code(code: i64) -> Result<Self, CatalogError> {
        match code {
            1 => Ok(Self::Governance),
            2 => Ok(Self::Compliance),
            _ => Err(CatalogError::Corrupt { what: "version" }),
        }
    }
}

impl Retention {
    /// Whether it forbids deletion now.
    pub const fn holds(&self, now_ms: u64, bypass_governance: bool) -> bool {
        let bypassed = bypass_governance && matches!(self.mode, RetentionMode::Governance);
        !bypassed && now_ms < self.until_ms
    }

    /// Whether `next` may take its place: anybody may prolong what is still running. Another mode or an earlier end
    /// needs a bypass, which only governance gives way to.
    const fn may_become(&self, next: Option<Self>, now_ms: u64, bypass_governance: bool) -> bool {
        if !self.holds(now_ms, bypass_governance) {
            return true;
        }
        let Some(next) = next else { return false };
        self.mode.code() == next.mode.code() && next.until_ms >= self.until_ms
    }
}

/// The columns of a [`VersionMeta`], behind a table alias with its dot.
macro_rules! meta_columns {
    ($alias:literal) => {
        concat!(
            $alias,
            "tags, ",
            $alias,
            "acl, ",
            $alias,
            "owner, ",
            $alias,
            "retention_mode, ",
            $alias,
            "retain_until_ms, ",
            $alias,
            "legal_hold"
        )
    };
}
pub(crate) use meta_columns;

/// How many columns `meta_columns!` has.
pub(crate) const META_COLUMNS: usize = 6;

/// Reads `meta_columns!` from column `at` on.
pub(crate) fn meta_from_row(row: &Row, at: usize) -> Result<VersionMeta, CatalogError> {
    Ok(VersionMeta {
        tags: row.opt_text(at)?.map(str::to_owned),
        acl: row.opt_text(at + 1)?.map(str::to_owned),
        owner: owner_from_row(row, at + 2)?,
        retention: retention_from_row(row, at + 3)?,
        legal_hold: row.bool(at + 5)?,
    })
}

/// Reads the account that wrote something.
pub(crate) fn owner_from_row(row: &Row, at: usize) -> Result<Option<AccountId>, CatalogError> {
    let owner = row.opt_blob(at)?;
    let owner = owner.map(|id| id.try_into().map_err(|_| CatalogError::Corrupt { what: "version" }));
    Ok(owner.transpose()?.map(AccountId))
}

/// Reads `retention_mode, retain_until_ms` from column `at` on.
pub(crate) fn retention_from_row(row: &Row, at: usize) -> Result<Option<Retention>, CatalogError> {
    let Some(mode) = row.opt_int(at)? else { return Ok(None) };
    Ok(Some(Retention { mode: RetentionMode::from_code(mode)?, until_ms: row.uint(at + 1)? }))
}

fn retention_params(retention: Option<Retention>) -> (Value, Value) {
    (retention.map(|it| it.mode.code()).into(), retention.map(|it| it.until_ms).into())
}

impl Catalog {
    /// Replaces a version's tags.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when it is gone.
    pub async fn set_version_tags(
        &self,
        version: &Version,
        tags: Option<String>,
    ) -> Result<(), CatalogError> {
        const UPDATE: &str = "UPDATE version SET tags = $2 WHERE sequence = $1 AND delete_marker = 0";
        self.amend(UPDATE, version, tags.into()).await
    }

    /// Replaces a version's access control list.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when it is gone.
    pub async fn set_version_acl(&self, version: &Version, acl: Option<String>) -> Result<(), CatalogError> {
        const UPDATE: &str = "UPDATE version SET acl = $2 WHERE sequence = $1 AND delete_marker = 0";
        self.amend(UPDATE, version, acl.into()).await
    }

    /// Sets or lifts a version's legal hold.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when it is gone.
    pub async fn set_version_legal_hold(&self, version: &Version, held: bool) -> Result<(), CatalogError> {
        const UPDATE: &str = "UPDATE version SET legal_hold = $2 WHERE sequence = $1 AND delete_marker = 0";
        self.amend(UPDATE, version, held.into()).await
    }

    /// Replaces a version's retention.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when it is gone; [`CatalogError::Locked`] when the retention that it has
    /// forbids the change.
    pub async fn set_version_retention(
        &self,
        version: &Version,
        retention: Option<Retention>,
        bypass_governance: bool,
        now_ms: u64,
    ) -> Result<(), CatalogError> {
        let sequence = version.sequence;
        self.db
            .write(move |tx| {
                Box::pin(
                    async move { set_retention(tx, sequence, retention, bypass_governance, now_ms).await },
                )
            })
            .await
    }

    /// Runs a statement on a version that is still there, and stores the messages about it.
    async fn amend(&self, sql: &'static str, version: &Version, value: Value) -> Result<(), CatalogError> {
        let params: Arc<[Value]> = [version.sequence.into(), value].into();
        if self.messages.is_empty() {
            let changed = self.db.execute(sql, params).await?;
            return found(changed);
        }
        let (version, messages) = (Arc::new(version.clone()), Arc::clone(&self.messages));
        self.db
            .write(move |tx| {
                let (params, version) = (Arc::clone(&params), Arc::clone(&version));
                let messages = Arc::clone(&messages);
                Box::pin(async move {
                    found(tx.execute(sql, &params).await?)?;
                    announce_amended(tx, &messages, &version).await
                })
            })
            .await
    }
}

/// Whether a statement on one version found it.
fn found(changed: u64) -> Result<(), CatalogError> {
    if changed == 0 { Err(CatalogError::NoSuchVersion) } else { Ok(()) }
}

async fn set_retention(
    tx: &mut Tx,
    sequence: u64,
    retention: Option<Retention>,
    bypass_governance: bool,
    now_ms: u64,
) -> Result<(), CatalogError> {
    // Locks the row: a concurrent change waits, and is then judged by this one's outcome.
    const LOCK: &str = "UPDATE version SET legal_hold = legal_hold WHERE sequence = $1 AND delete_marker = 0
         RETURNING retention_mode, retain_until_ms";
    const UPDATE: &str = "UPDATE version SET retention_mode = $2, retain_until_ms = $3 WHERE sequence = $1";
    let row = tx.query_opt(LOCK, &[sequence.into()]).await?.ok_or(CatalogError::NoSuchVersion)?;
    let stored = retention_from_row(&row, 0)?;
    if stored.is_some_and(|stored| !stored.may_become(retention, now_ms, bypass_governance)) {
        return Err(CatalogError::Locked);
    }
    let (mode, until) = retention_params(retention);
    tx.execute(UPDATE, &[sequence.into(), mode, until]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn retention(mode: RetentionMode, until_ms: u64) -> Retention {
        Retention { mode, until_ms }
    }

    #[test]
    fn a_running_retention_gives_way_only_to_a_longer_one_or_to_a_bypass_of_governance() {
        use RetentionMode::{Compliance, Governance};
        let table = [
            // (stored, next, allowed, allowed with bypass), at time 100
            (retention(Governance, 200), Some(retention(Governance, 300)), true, true),
            (retention(Governance, 200), Some(retention(Governance, 200)), true, true),
            (retention(Governance, 200), Some(retention(Governance, 150)), false, true),
            (retention(Governance, 200), Some(retention(Compliance, 300)), false, true),
            (retention(Governance, 200), Some(retention(Compliance, 150)), false, true),
            (retention(Governance, 200), None, false, true),
            (retention(Compliance, 200), Some(retention(Compliance, 300)), true, true),
            (retention(Compliance, 200), Some(retention(Compliance, 150)), false, false),
            (retention(Compliance, 200), Some(retention(Governance, 300)), false, false),
            (retention(Compliance, 200), None, false, false),
            (retention(Compliance, 100), None, true, true),
            (retention(Governance, 99), Some(retention(Governance, 50)), true, true),
        ];
        for (stored, next, allowed, bypassing) in table {
            assert_eq!(stored.may_become(next, 100, false), allowed, "{stored:?} to {next:?}");
            assert_eq!(stored.may_become(next, 100, true), bypassing, "{stored:?} to {next:?}, bypassing");
        }
    }
}
