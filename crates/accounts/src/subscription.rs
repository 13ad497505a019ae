//! Which limits are in force: those of the plan version that an account subscribes to, under the account's own.

use std::sync::Arc;

use datamesh_db::{Row, StoredCount, Tx};
use datamesh_types::AccountId;

use crate::owner::{Book, Month, Owner};
use crate::quota::{self, Amount};
use crate::{
    Accounts, AccountsError, Dimension, Limit, LimitChange, LimitSet, PlanVersion, Stage, Standing, plan,
};

/// The limits of an owner, and what is counted against them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// The plan of an account.
    pub plan: Option<PlanVersion>,
    /// The limits in force.
    pub limits: LimitSet,
    /// Those among them that are the owner's own.
    pub own: Vec<Dimension>,
    /// Bytes, objects, ingress and egress of this month, where they are counted.
    pub standings: Vec<(Dimension, Standing)>,
}

impl Allowance {
    /// The same on another plan; its own limits stay.
    #[must_use]
    pub fn on_plan(&self, plan: PlanVersion) -> Self {
        let mut limits = plan.limits;
        for dimension in &self.own {
            limits.set(*dimension, self.limits.get(*dimension));
        }
        Self { plan: Some(plan), limits, ..self.clone() }
    }

    /// The same with other limits, after `changes` of its own ones.
    #[must_use]
    pub fn with_own(&self, limits: LimitSet, changes: &[(Dimension, LimitChange)]) -> Self {
        let mut own = self.own.clone();
        for (dimension, change) in changes {
            own.retain(|known| known != dimension);
            if !matches!(change, LimitChange::Plan) {
                own.push(*dimension);
            }
        }
        Self { limits, own, ..self.clone() }
    }
}

/// An owner's own limits: `None` lifts the plan's.
type OwnLimits = Vec<(Dimension, Option<Limit>)>;

async fn own_limits(tx: &mut Tx, owner: &Owner) -> Result<OwnLimits, AccountsError> {
    const OWN: &str =
        "SELECT dimension, maximum, burst, stage FROM own_limit WHERE owner = $1 ORDER BY dimension";
    let rows = tx.query(OWN, &[owner.encode().into()]).await?;
    let limit = |row: &Row| {
        let dimension = Dimension::from_number(row.int(0)?);
        let dimension = dimension.ok_or_else(|| AccountsError::Damaged { name: "own_limit".to_owned() })?;
        let burst = row.opt_int(2)?.map(|burst| burst as u32);
        let stage = Stage::from_number(row.int(3)?);
        let limit = row.opt_int(1)?.map(|maximum| Limit { maximum: maximum.cast_unsigned(), burst, stage });
        Ok((dimension, limit))
    };
    rows.iter().map(limit).collect()
}

/// The plan version that an account subscribes to.
async fn subscribed(tx: &mut Tx, account: AccountId) -> Result<PlanVersion, AccountsError> {
    const SUBSCRIBED: &str = "SELECT plan, version FROM subscription WHERE account = $1";
    let row = tx.query_opt(SUBSCRIBED, &[account.into()]).await?;
    let row = row.ok_or(AccountsError::NoSuchAccount { account })?;
    plan::one(tx, row.text(0)?, row.uint(1)?).await
}

/// The limits in force.
///
/// # Errors
/// [`AccountsError::NoSuchAccount`].
pub(crate) async fn limits_of(tx: &mut Tx, owner: &Owner) -> Result<LimitSet, AccountsError> {
    let mut limits = match owner {
        Owner::Account(account) => subscribed(tx, *account).await?.limits,
        Owner::Bucket(_) | Owner::Key(_) => LimitSet::NONE,
    };
    for (dimension, limit) in own_limits(tx, owner).await? {
        limits.set(dimension, limit);
    }
    Ok(limits)
}

/// Lets what is counted in SQL know of new limits.
async fn put_in_force(tx: &mut Tx, owner: &Owner, month: Month) -> Result<LimitSet, AccountsError> {
    let limits = limits_of(tx, owner).await?;
    for book in [Book::Stored(owner.clone()), Book::Moved(owner.clone(), month)] {
        if quota::find(tx, &book).await?.is_some() {
            quota::set_limits(tx, &book, &limits, Amount::ZERO).await?;
        }
    }
    Ok(limits)
}

/// Keeps when an account came to a plan: invoices divide a month by it.
async fn begin_term(
    tx: &mut Tx,
    account: AccountId,
    plan: &PlanVersion,
    now_ms: u64,
) -> Result<(), AccountsError> {
    const BEGIN: &str =
        "INSERT INTO subscription_term (account, since_ms, plan, version) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account, since_ms) DO UPDATE SET plan = excluded.plan, version = excluded.version";
    let params = [account.into(), now_ms.into(), (&plan.name).into(), plan.version.into()];
    tx.execute(BEGIN, &params).await?;
    Ok(())
}

/// Makes an account's subscription and its book.
pub(crate) async fn begin(
    tx: &mut Tx,
    account: AccountId,
    plan: &str,
    now_ms: u64,
) -> Result<PlanVersion, AccountsError> {
    const INSERT: &str =
        "INSERT INTO subscription (account, plan, version, since_ms) VALUES ($1, $2, $3, $4)";
    let plan = plan::newest(tx, plan).await?;
    let params = [account.into(), (&plan.name).into(), plan.version.into(), now_ms.into()];
    tx.execute(INSERT, &params).await?;
    begin_term(tx, account, &plan, now_ms).await?;
    quota::set_limits(tx, &Book::Stored(Owner::Account(account)), &plan.limits, Amount::ZERO).await?;
    Ok(plan)
}

/// Moves an account to a plan.
///
/// # Errors
/// [`AccountsError::NoSuchAccount`].
pub(crate) async fn move_to(
    tx: &mut Tx,
    account: AccountId,
    plan: &PlanVersion,
    now_ms: u64,
) -> Result<(), AccountsError> {
    const MOVE: &str = "UPDATE subscription SET plan = $2, version = $3, since_ms = $4 WHERE account = $1";
    let params = [account.into(), (&plan.name).into(), plan.version.into(), now_ms.into()];
    if tx.execute(MOVE, &params).await? == 0 {
        return Err(AccountsError::NoSuchAccount { account });
    }
    arrive(tx, account, plan, now_ms).await
}

/// Moves an account to a plan if it still subscribes to that plan and version since that moment; whether it did.
pub(crate) async fn move_from(
    tx: &mut Tx,
    account: AccountId,
    (from, version, since_ms): (&str, u64, u64),
    plan: &PlanVersion,
    now_ms: u64,
) -> Result<bool, AccountsError> {
    const MOVE: &str = "UPDATE subscription SET plan = $2, version = $3, since_ms = $4
        WHERE account = $1 AND plan = $5 AND version = $6 AND since_ms = $7";
    let params = [
        account.into(),
        (&plan.name).into(),
        plan.version.into(),
        now_ms.into(),
        from.into(),
        version.into(),
        since_ms.into(),
    ];
    if tx.execute(MOVE, &params).await? == 0 {
        return Ok(false);
    }
    arrive(tx, account, plan, now_ms).await?;
    Ok(true)
}

/// What follows from an account's new subscription.
async fn arrive(
    tx: &mut Tx,
    account: AccountId,
    plan: &PlanVersion,
    now_ms: u64,
) -> Result<(), AccountsError> {
    const NAME: &str = "UPDATE account SET plan = $2 WHERE id = $1";
    tx.execute(NAME, &[account.into(), (&plan.name).into()]).await?;
    begin_term(tx, account, plan, now_ms).await?;
    put_in_force(tx, &Owner::Account(account), Month::of(now_ms)).await?;
    Ok(())
}

impl Accounts {
    /// Moves an account to a plan's newest version, or to the one that is named. Its own limits stay.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccount`], [`AccountsError::UnknownPlan`].
    pub async fn subscribe(
        &self,
        account: AccountId,
        plan: &str,
        version: Option<u64>,
    ) -> Result<PlanVersion, AccountsError> {
        let (name, now_ms) = (Arc::<str>::from(plan), self.now_ms());
        let plan = self
            .write::<_, AccountsError, _>(move |tx| {
                let name = Arc::clone(&name);
                Box::pin(async move {
                    let plan = plan::named(tx, &name, version).await?;
                    move_to(tx, account, &plan, now_ms).await?;
                    Ok(plan)
                })
            })
            .await?;
        self.limits_changed(&Owner::Account(account));
        Ok(plan)
    }

    /// Changes an owner's own limits, all or nothing. A limit below what is used takes nothing away: it only refuses
    /// more. This gateway applies them at once, the others within five seconds.
    ///
    /// `count` counts what a bucket stores, which nobody records before it has a limit.
    ///
    /// # Errors
    /// [`AccountsError::InvalidLimit`], also for what an access key stores; [`AccountsError::NoSuchAccount`].
    pub async fn change_limits(
        &self,
        owner: &Owner,
        changes: &[(Dimension, LimitChange)],
        count: Arc<dyn StoredCount>,
    ) -> Result<LimitSet, AccountsError> {
        for (dimension, change) in changes {
            if let LimitChange::Limit(limit) = change {
                limit.check(*dimension)?;
            }
            if matches!(owner, Owner::Key(_)) && dimension.is_stored() {
                let reason = "what a key stored belongs to its account: limit the account or a bucket";
                return Err(AccountsError::InvalidLimit { dimension: *dimension, reason });
            }
        }
        let shared = Arc::new((owner.clone(), changes.to_vec()));
        let month = Month::of(self.now_ms());
        let limits = self
            .write(move |tx| {
                let (shared, count) = (Arc::clone(&shared), Arc::clone(&count));
                Box::pin(async move {
                    let (owner, changes) = &*shared;
                    open_book(tx, owner, changes, &*count).await?;
                    for (dimension, change) in changes {
                        write_own_limit(tx, owner, *dimension, *change).await?;
                    }
                    put_in_force(tx, owner, month).await
                })
            })
            .await?;
        self.limits_changed(owner);
        Ok(limits)
    }

    /// An owner's limits, and what is counted against them, as one snapshot.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccount`].
    pub async fn allowance(&self, owner: &Owner) -> Result<Allowance, AccountsError> {
        let (owner, month) = (owner.clone(), Month::of(self.now_ms()));
        self.db()
            .read(move |tx| {
                let owner = owner.clone();
                Box::pin(async move {
                    let plan = match &owner {
                        Owner::Account(account) => Some(subscribed(tx, *account).await?),
                        Owner::Bucket(_) | Owner::Key(_) => None,
                    };
                    let own = own_limits(tx, &owner).await?.into_iter().map(|(dimension, _)| dimension);
                    let own = own.collect();
                    let limits = limits_of(tx, &owner).await?;
                    let mut standings = Vec::new();
                    for book in [Book::Stored(owner.clone()), Book::Moved(owner, month)] {
                        let lines = quota::find(tx, &book).await?.map(|quota| quota.0);
                        let counted = lines.iter().flatten();
                        standings.extend(counted.map(|line| (line.dimension, Standing::of(line))));
                    }
                    Ok(Allowance { plan, limits, own, standings })
                })
            })
            .await
    }
}

async fn write_own_limit(
    tx: &mut Tx,
    owner: &Owner,
    dimension: Dimension,
    change: LimitChange,
) -> Result<(), AccountsError> {
    const DROP: &str = "DELETE FROM own_limit WHERE owner = $1 AND dimension = $2";
    const SET: &str = "INSERT INTO own_limit (owner, dimension, maximum, burst, stage)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (owner, dimension) DO UPDATE SET maximum = excluded.maximum, burst = excluded.burst,
            stage = excluded.stage";
    let place = [owner.encode().into(), dimension.number().into()];
    let limit = match change {
        LimitChange::Plan => {
            tx.execute(DROP, &place).await?;
            return Ok(());
        }
        LimitChange::Unlimited => None,
        LimitChange::Limit(limit) => Some(limit),
    };
    let [owner, dimension] = place;
    let params = [
        owner,
        dimension,
        limit.map(|limit| limit.maximum).into(),
        limit.and_then(|limit| limit.burst).into(),
        limit.map_or(Stage::Enforce, |limit| limit.stage).number().into(),
    ];
    tx.execute(SET, &params).await?;
    Ok(())
}

/// Begins to count what a bucket stores, when it gets its first limit on that.
async fn open_book(
    tx: &mut Tx,
    owner: &Owner,
    changes: &[(Dimension, LimitChange)],
    count: &dyn StoredCount,
) -> Result<(), AccountsError> {
    let Owner::Bucket(bucket) = owner else { return Ok(()) };
    let book = Book::Stored(owner.clone());
    let is_needed = changes.iter().any(|(dimension, _)| dimension.is_stored());
    if !is_needed || quota::find(tx, &book).await?.is_some() {
        return Ok(());
    }
    let stored = count.count(tx, Some(*bucket)).await?;
    let used = stored.first().map_or(Amount::ZERO, |stored| Amount::new(stored.bytes, stored.objects));
    quota::set_limits(tx, &book, &LimitSet::NONE, used).await
}
