//! Holds: what an account may not do for a while. Lifting one restores everything, for nothing else was changed.

use std::sync::Arc;

use aws_lc_rs::rand;
use datamesh_db::{CommitHook, DbError, Row, Tx};
use datamesh_types::AccountId;

use crate::named::named;
use crate::owner::Owner;
use crate::reservation::refused;
use crate::{Accounts, AccountsError};

/// Why an account is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldKind {
    /// It has not paid.
    Billing,
    /// It has been abused, or abuses.
    Abuse,
    /// A court or an authority says so.
    Legal,
    /// It is in dispute.
    Dispute,
    /// It is to be erased. Such holds come and go with the erasure.
    Erasure,
}

/// What a hold keeps an account from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldScope {
    /// Writing. Deleting stays allowed, but under a legal hold.
    Write,
    /// Reading. Under a legal hold writing and deleting too: either may destroy what is to be kept.
    Read,
    /// Everything.
    All,
}

named!(HoldKind {
    Billing = "billing", Abuse = "abuse", Legal = "legal", Dispute = "dispute", Erasure = "erasure",
} name => AccountsError::InvalidHold {
    reason: format!("{name:?} is no kind: expected billing, abuse, legal or dispute"),
});
named!(HoldScope { Write = "write", Read = "read", All = "all" } name => AccountsError::InvalidHold {
    reason: format!("{name:?} is no scope: expected write, read or all"),
});

/// What a request does, as far as holds care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It reads.
    Read,
    /// It stores or changes something.
    Write,
    /// It only deletes.
    Delete,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// Whom it holds.
    pub account: AccountId,
    /// Why.
    pub kind: HoldKind,
    /// From what.
    pub scope: HoldScope,
    /// The reason, as it was given.
    pub reason: String,
    /// When it began, milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it ends by itself.
    pub until_ms: Option<u64>,
    /// When it was lifted.
    pub lifted_at_ms: Option<u64>,
    /// Whether no operator placed it: it goes with what placed it, and cannot be lifted otherwise.
    pub is_automatic: bool,
}

/// A hold to place.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// Why.
    pub kind: HoldKind,
    /// From what.
    pub scope: HoldScope,
    /// The reason.
    pub reason: String,
    /// When it ends by itself, milliseconds since 1970.
    pub until_ms: Option<u64>,
}

impl Hold {
    /// One that begins now, and that an operator may lift.
    pub(crate) fn begin(id: String, account: AccountId, new: NewHold, now_ms: u64) -> Self {
        Self {
            id,
            account,
            kind: new.kind,
            scope: new.scope,
            reason: new.reason,
            created_at_ms: now_ms,
            until_ms: new.until_ms,
            lifted_at_ms: None,
            is_automatic: false,
        }
    }

    /// Whether it counts at this moment.
    pub fn is_active(&self, now_ms: u64) -> bool {
        self.lifted_at_ms.is_none() && self.until_ms.is_none_or(|until_ms| until_ms > now_ms)
    }

    /// Whether it keeps its account from that.
    pub fn forbids(&self, effect: Effect) -> bool {
        match (self.scope, effect) {
            (HoldScope::All, _) | (HoldScope::Write, Effect::Write) | (HoldScope::Read, Effect::Read) => true,
            (HoldScope::Write, Effect::Delete) | (HoldScope::Read, Effect::Write | Effect::Delete) => {
                self.kind == HoldKind::Legal
            }
            (HoldScope::Write, Effect::Read) => false,
        }
    }
}

fn from_row(row: &Row) -> Result<Hold, AccountsError> {
    Ok(Hold {
        id: row.text(0)?.to_owned(),
        account: AccountId(row.bytes(1)?),
        kind: row.text(2)?.parse()?,
        scope: row.text(3)?.parse()?,
        reason: row.text(4)?.to_owned(),
        created_at_ms: row.uint(5)?,
        until_ms: row.opt_int(6)?.map(i64::cast_unsigned),
        lifted_at_ms: row.opt_int(7)?.map(i64::cast_unsigned),
        is_automatic: row.bool(8)?,
    })
}

/// The holds of an account that nobody has lifted; some may be over.
pub(crate) async fn unlifted(tx: &mut Tx, account: AccountId) -> Result<Vec<Hold>, AccountsError> {
    const UNLIFTED: &str =
        "SELECT id, account, kind, scope, reason, created_at_ms, until_ms, lifted_at_ms, automatic
        FROM hold WHERE account = $1 AND lifted_at_ms IS NULL ORDER BY created_at_ms, id";
    tx.query(UNLIFTED, &[account.into()]).await?.iter().map(from_row).collect()
}

/// Keeps others from placing holds on an account, and from doing what depends on them, until the transaction ends.
pub(crate) async fn lock_holds(tx: &mut Tx, account: AccountId) -> Result<(), DbError> {
    tx.lock(&[b"holds/".as_slice(), &account.0].concat()).await
}

/// Places a hold. Whether it did: not when there is no such account, or a hold with this id.
pub(crate) async fn place(tx: &mut Tx, hold: &Hold) -> Result<bool, AccountsError> {
    const PLACE: &str =
        "INSERT INTO hold (id, account, kind, scope, reason, created_at_ms, until_ms, automatic)
        SELECT $1, id, $3, $4, $5, $6, $7, $8 FROM account WHERE id = $2 ON CONFLICT (id) DO NOTHING";
    let params = [
        (&hold.id).into(),
        hold.account.into(),
        hold.kind.name().into(),
        hold.scope.name().into(),
        (&hold.reason).into(),
        hold.created_at_ms.into(),
        hold.until_ms.into(),
        hold.is_automatic.into(),
    ];
    Ok(tx.execute(PLACE, &params).await? == 1)
}

/// Refuses what would replace something that is stored, under a legal hold. One that is placed at the same moment may come
/// before or after it.
pub(crate) async fn refuse_replacing(
    tx: &mut Tx,
    account: AccountId,
    now_ms: u64,
) -> Result<(), AccountsError> {
    let holds = unlifted(tx, account).await?;
    match holds.into_iter().find(|hold| hold.kind == HoldKind::Legal && hold.is_active(now_ms)) {
        None => Ok(()),
        Some(Hold { kind, scope, .. }) => Err(AccountsError::Held { kind, scope }),
    }
}

/// The legal hold that an account is under. Nobody places one, until the transaction ends.
pub(crate) async fn legal(
    tx: &mut Tx,
    account: AccountId,
    now_ms: u64,
) -> Result<Option<Hold>, AccountsError> {
    lock_holds(tx, account).await?;
    let holds = unlifted(tx, account).await?;
    Ok(holds.into_iter().find(|hold| hold.kind == HoldKind::Legal && hold.is_active(now_ms)))
}

impl Accounts {
    /// A hook for commits that delete what is stored. It records the change, and refuses it with [`AccountsError::Held`]
    /// under a legal hold, also one that this gateway has not heard of yet.
    pub fn deletion_hook(&self) -> Arc<dyn CommitHook> {
        let accounts = self.clone();
        self.guarded_release_hook(move |tx, account| {
            let now_ms = accounts.now_ms();
            Box::pin(async move {
                match legal(tx, account, now_ms).await.map_err(refused)? {
                    None => Ok(()),
                    Some(Hold { kind, scope, .. }) => Err(refused(AccountsError::Held { kind, scope })),
                }
            })
        })
    }

    /// Holds an account. This gateway minds it at once, the others within five seconds.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccount`]; [`AccountsError::InvalidHold`] for one that is over already, and for the kind of
    /// erasures.
    pub async fn hold(&self, account: AccountId, new: NewHold) -> Result<Hold, AccountsError> {
        let now_ms = self.now_ms();
        if new.until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            return Err(AccountsError::InvalidHold { reason: "until: expected a time to come".to_owned() });
        }
        if new.kind == HoldKind::Erasure {
            let reason = "kind: this one comes and goes with an erasure".to_owned();
            return Err(AccountsError::InvalidHold { reason });
        }
        let mut id = [0; 8];
        rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let hold = Hold::begin(hex::encode(id), account, new, now_ms);
        let placed = hold.clone();
        self.write(move |tx| {
            let hold = placed.clone();
            Box::pin(async move {
                lock_holds(tx, account).await?;
                if place(tx, &hold).await? { Ok(()) } else { Err(AccountsError::NoSuchAccount { account }) }
            })
        })
        .await?;
        self.limits_changed(&Owner::Account(account));
        Ok(hold)
    }

    /// Lifts a hold.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchHold`], also when it was lifted before, or is not an operator's.
    pub async fn lift_hold(&self, id: &str) -> Result<Hold, AccountsError> {
        const LIFT: &str =
            "UPDATE hold SET lifted_at_ms = $2 WHERE id = $1 AND lifted_at_ms IS NULL AND automatic = 0
            RETURNING id, account, kind, scope, reason, created_at_ms, until_ms, lifted_at_ms, automatic";
        let (id, params) = (id.to_owned(), [id.into(), self.now_ms().into()]);
        let hold = self
            .write::<_, AccountsError, _>(move |tx| {
                let (id, params) = (id.clone(), params.clone());
                Box::pin(async move {
                    let row = tx.query_opt(LIFT, &params).await?;
                    from_row(&row.ok_or(AccountsError::NoSuchHold { id })?)
                })
            })
            .await?;
        self.limits_changed(&Owner::Account(hold.account));
        Ok(hold)
    }

    /// All holds of an account, lifted ones too, oldest first.
    pub async fn holds(&self, account: AccountId) -> Result<Vec<Hold>, AccountsError> {
        const ALL: &str =
            "SELECT id, account, kind, scope, reason, created_at_ms, until_ms, lifted_at_ms, automatic
            FROM hold WHERE account = $1 ORDER BY created_at_ms, id";
        let rows = self.db().rows(ALL, [account.into()].into()).await?;
        rows.iter().map(from_row).collect()
    }
}
