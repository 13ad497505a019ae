//! Plans: named sets of limits, in versions that never change.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_db::{Row, Tx};

use crate::{Accounts, AccountsError, LimitSet};

/// The plans that every database begins with.
const SHIPPED: &str = include_str!("plans.toml");
const NAME_LEN_MAX: usize = 64;

/// One version of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanVersion {
    /// The plan.
    pub name: String,
    /// Its version, from 1.
    pub version: u64,
    /// The limits.
    pub limits: LimitSet,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: u64,
}

/// What applying a file did to one of its plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedPlan {
    /// The version that is the newest now.
    pub plan: PlanVersion,
    /// Whether it was made just now: a plan that says what its newest version says gets none.
    pub is_new: bool,
}

/// Plans as a file has them, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFile(BTreeMap<String, LimitSet>);

impl PlanFile {
    /// Reads TOML: a table for each plan, and in it a table for each limit.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPlans`] with the line, [`AccountsError::InvalidLimit`].
    pub fn parse(text: &str) -> Result<Self, AccountsError> {
        let plans: BTreeMap<String, LimitSet> = toml::from_str(text).map_err(|error| {
            AccountsError::InvalidPlans { reason: error.to_string().trim_end().to_owned() }
        })?;
        for (name, limits) in &plans {
            let is_name = (1..=NAME_LEN_MAX).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !is_name {
                let reason = format!("{name:?} is no name: expected lower-case letters, digits and '-'");
                return Err(AccountsError::InvalidPlans { reason });
            }
            limits.check()?;
        }
        Ok(Self(plans))
    }
}

const COLUMNS: &str = "SELECT plan, version, body, created_at_ms FROM plan_version";

fn from_row(row: &Row) -> Result<PlanVersion, AccountsError> {
    let name = row.text(0)?.to_owned();
    let limits = serde_json::from_str(row.text(2)?);
    let limits = limits.map_err(|_| AccountsError::Damaged { name: format!("plan/{name}") })?;
    Ok(PlanVersion { name, version: row.uint(1)?, limits, created_at_ms: row.uint(3)? })
}

/// The newest version of a plan.
///
/// # Errors
/// [`AccountsError::UnknownPlan`].
pub(crate) async fn newest(tx: &mut Tx, name: &str) -> Result<PlanVersion, AccountsError> {
    const NEWEST: &str = "SELECT plan, version, body, created_at_ms FROM plan_version WHERE plan = $1
        ORDER BY version DESC LIMIT 1";
    let row = tx.query_opt(NEWEST, &[name.into()]).await?;
    row.map_or_else(|| Err(AccountsError::UnknownPlan { name: name.to_owned() }), |row| from_row(&row))
}

/// One version of a plan.
///
/// # Errors
/// [`AccountsError::UnknownPlan`].
pub(crate) async fn one(tx: &mut Tx, name: &str, version: u64) -> Result<PlanVersion, AccountsError> {
    const ONE: &str =
        "SELECT plan, version, body, created_at_ms FROM plan_version WHERE plan = $1 AND version = $2";
    let row = tx.query_opt(ONE, &[name.into(), version.into()]).await?;
    let unknown = || Err(AccountsError::UnknownPlan { name: format!("{name} version {version}") });
    row.map_or_else(unknown, |row| from_row(&row))
}

/// The version of a plan that is named, or its newest one.
///
/// # Errors
/// [`AccountsError::UnknownPlan`].
pub(crate) async fn named(
    tx: &mut Tx,
    name: &str,
    version: Option<u64>,
) -> Result<PlanVersion, AccountsError> {
    match version {
        Some(version) => one(tx, name, version).await,
        None => newest(tx, name).await,
    }
}

impl Accounts {
    /// All versions of all plans, by name and version.
    pub async fn plans(&self) -> Result<Vec<PlanVersion>, AccountsError> {
        let rows = self.db().rows(COLUMNS, [].into()).await?;
        let mut plans = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        plans.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
        Ok(plans)
    }

    /// Makes a new version of every plan of `file` that says something else than its newest version. Who subscribed
    /// to an older one keeps it. All or nothing.
    pub async fn apply_plans(&self, file: &PlanFile) -> Result<Vec<AppliedPlan>, AccountsError> {
        let plans = Arc::new(file.0.clone());
        let now_ms = self.now_ms();
        self.write(move |tx| {
            let plans = Arc::clone(&plans);
            Box::pin(async move { apply(tx, &plans, now_ms).await })
        })
        .await
    }

    /// Makes the first versions of the shipped plans that are not there yet.
    pub(crate) async fn ship_plans(&self) -> Result<(), AccountsError> {
        let present = self.plans().await?;
        let mut missing = PlanFile::parse(SHIPPED)?;
        missing.0.retain(|name, _| !present.iter().any(|plan| plan.name == *name));
        if !missing.0.is_empty() {
            self.apply_plans(&missing).await?;
        }
        Ok(())
    }
}

async fn apply(
    tx: &mut Tx,
    plans: &BTreeMap<String, LimitSet>,
    now_ms: u64,
) -> Result<Vec<AppliedPlan>, AccountsError> {
    const INSERT: &str =
        "INSERT INTO plan_version (plan, version, body, created_at_ms) VALUES ($1, $2, $3, $4)";
    tx.lock(b"plans").await?;
    let mut applied = Vec::with_capacity(plans.len());
    for (name, limits) in plans {
        let version = match newest(tx, name).await {
            Ok(plan) if plan.limits == *limits => {
                applied.push(AppliedPlan { plan, is_new: false });
                continue;
            }
            Ok(plan) => plan.version + 1,
            Err(AccountsError::UnknownPlan { .. }) => 1,
            Err(error) => return Err(error),
        };
        let body = serde_json::to_string(limits)
            .map_err(|error| AccountsError::InvalidPlans { reason: error.to_string() })?;
        tx.execute(INSERT, &[name.into(), version.into(), body.into(), now_ms.into()]).await?;
        let plan = PlanVersion { name: name.clone(), version, limits: *limits, created_at_ms: now_ms };
        applied.push(AppliedPlan { plan, is_new: true });
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dimension, Limit, Stage};

    #[test]
    fn the_shipped_plans_are_the_tiers_of_the_roadmap() {
        let PlanFile(plans) = PlanFile::parse(SHIPPED).unwrap();
        let names: Vec<_> = plans.keys().map(String::as_str).collect();
        assert_eq!(names, ["enterprise", "free", "premium", "unlimited"]);
        let free = plans["free"];
        assert_eq!(free.get(Dimension::Bytes), Some(Limit::enforced(5_000_000_000)));
        assert_eq!(free.get(Dimension::Objects), Some(Limit::enforced(1_000)));
        assert_eq!(free.get(Dimension::Requests).unwrap().burst, Some(100));
        assert_eq!(plans["premium"].hard(Dimension::Egress), Some(1_000_000_000_000));
        assert_eq!(plans["unlimited"], LimitSet::NONE);
    }

    #[test]
    fn files_that_make_no_sense_are_refused_with_the_reason() {
        for (text, reason) in [
            ("[free]\nbytes = { maximum = -1 }", "-1"),
            ("[free]\nspeed = { maximum = 1 }", "\"speed\" is not a limit"),
            ("[free]\nbytes = { maximum = 1, size = 2 }", "size"),
            ("[free]\nbytes = { maximum = \"many\" }", "many"),
            ("[free]\nbytes = { maximum = 1, stage = \"later\" }", "later"),
            ("[Free]", "\"Free\" is no name"),
            ("[free]\nrequests = { maximum = 0 }", "at least 1 a second"),
        ] {
            let refused = PlanFile::parse(text).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn a_stage_is_enforce_unless_it_is_named() {
        let PlanFile(plans) = PlanFile::parse(
            "[a]\nbytes = { maximum = \"1 KiB\", stage = \"observe\" }\nobjects = { maximum = 2 }",
        )
        .unwrap();
        let expected = Limit { maximum: 1_024, burst: None, stage: Stage::Observe };
        assert_eq!(plans["a"].get(Dimension::Bytes), Some(expected));
        assert_eq!(plans["a"].hard(Dimension::Bytes), None);
        assert_eq!(plans["a"].hard(Dimension::Objects), Some(2));
    }
}
