//! Appending to the audit log, and reading it.

use std::sync::{Arc, Mutex, PoisonError};

use datamesh_db::{DbError, Row, Tx, TxFuture};
use tracing::error;

use super::{
    Act, AuditCheck, AuditEntry, AuditFault, AuditHead, AuditKey, AuditPublicKey, AuditVerdict, Digest,
    Outcome, WitnessedHead,
};
use crate::{Accounts, AccountsError};

/// Entries per step of a check.
const PAGE: usize = 1_000;

/// An entry to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// See [`AuditEntry::actor`].
    pub actor: String,
    /// See [`AuditEntry::action`].
    pub action: String,
    /// See [`AuditEntry::target`].
    pub target: String,
    /// See [`AuditEntry::reason`].
    pub reason: String,
    /// See [`AuditEntry::outcome`].
    pub outcome: Outcome,
    /// See [`AuditEntry::request`].
    pub request: Digest,
}

/// Which entries to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only those with a higher number.
    pub after: u64,
    /// Only those written at this time or later, milliseconds since 1970.
    pub since_ms: u64,
}

/// Appends an entry and signs the new head. The row of the head is taken first: whoever else appends waits until this
/// transaction ends, so this is best the last thing a transaction does.
async fn append(tx: &mut Tx, key: &AuditKey, at_ms: u64, new: &NewEntry) -> Result<AuditHead, AccountsError> {
    const NEXT: &str =
        "UPDATE audit_head SET sequence = sequence + 1, at_ms = $1 WHERE id = 1 RETURNING sequence, hash";
    const INSERT: &str = "INSERT INTO audit_entry
        (sequence, at_ms, actor, action, target, reason, outcome, request, payload, previous, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    const SIGN: &str = "UPDATE audit_head SET hash = $1, signature = $2 WHERE id = 1";
    let row = tx.query_opt(NEXT, &[at_ms.into()]).await?;
    let row = row.ok_or_else(|| AccountsError::Damaged { name: "audit_head".to_owned() })?;
    let mut entry = AuditEntry {
        sequence: row.uint(0)?,
        at_ms,
        actor: new.actor.clone(),
        action: new.action.clone(),
        target: new.target.clone(),
        reason: new.reason.clone(),
        outcome: new.outcome,
        request: new.request,
        payload: None,
        emptied: false,
        previous: Digest(row.bytes(1)?),
        hash: Digest::NONE,
    };
    entry.seal();
    let params = [
        entry.sequence.into(),
        at_ms.into(),
        entry.actor.into(),
        entry.action.into(),
        entry.target.into(),
        entry.reason.into(),
        entry.outcome.name().into(),
        (&entry.request.0).into(),
        entry.payload.as_ref().map(|payload| &payload.0).into(),
        (&entry.previous.0).into(),
        (&entry.hash.0).into(),
    ];
    tx.execute(INSERT, &params).await?;
    let head = key.sign(entry.sequence, at_ms, entry.hash);
    tx.execute(SIGN, &[(&entry.hash.0).into(), (&head.signature).into()]).await?;
    Ok(head)
}

fn from_row(row: &Row) -> Result<AuditEntry, AccountsError> {
    Ok(AuditEntry {
        sequence: row.uint(0)?,
        at_ms: row.uint(1)?,
        actor: row.text(2)?.to_owned(),
        action: row.text(3)?.to_owned(),
        target: row.text(4)?.to_owned(),
        reason: row.text(5)?.to_owned(),
        outcome: row.text(6)?.parse()?,
        request: Digest(row.bytes(7)?),
        payload: row.opt_blob(8)?.map(|_| row.bytes(8)).transpose()?.map(Digest),
        emptied: row.int(9)? != 0,
        previous: Digest(row.bytes(10)?),
        hash: Digest(row.bytes(11)?),
    })
}

impl Accounts {
    /// These accounts, changed in the name of an action: the first change takes the action's entry along.
    #[must_use]
    pub fn acting(&self, act: Arc<Act>) -> Self {
        self.with_act(act)
    }

    /// Whether changes through this handle are only tried out.
    pub fn is_preview(&self) -> bool {
        self.act().is_some_and(Act::is_preview)
    }

    /// Appends an entry that belongs to no change of the accounts.
    pub async fn record(&self, new: NewEntry) -> Result<(), AccountsError> {
        let (new, key, at_ms) = (Arc::new(new), self.audit_key(), self.now_ms());
        let head = self
            .db()
            .write(move |tx| {
                let (new, key) = (Arc::clone(&new), Arc::clone(&key));
                Box::pin(async move { append(tx, &key, at_ms, &new).await })
            })
            .await?;
        self.witness().note(self.audit_key().public(), head).await;
        Ok(())
    }

    /// Like [`datamesh_db::Db::write`], in the name of the action that is under way, if there is one: its entry is
    /// committed with the change, and a preview is undone and returns what it would have returned. What changes nothing must
    /// be an error of the body, or its entry says that it was done.
    pub(crate) async fn write<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + From<AccountsError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        match self.act() {
            None => self.db().write(body).await,
            Some(act) if act.is_preview() => self.preview(body).await,
            Some(act) if act.is_recorded() => self.db().write(body).await,
            Some(act) => self.write_recorded(act, body).await,
        }
    }

    async fn write_recorded<T, E, F>(&self, act: &Act, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + From<AccountsError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        let shared = Arc::new((body, act.entry(Outcome::Done)));
        let (key, at_ms) = (self.audit_key(), self.now_ms());
        let (value, head) = self
            .db()
            .write(move |tx| {
                let (shared, key) = (Arc::clone(&shared), Arc::clone(&key));
                Box::pin(async move {
                    let (body, entry) = &*shared;
                    let value = body(tx).await?;
                    let head = append(tx, &key, at_ms, entry).await?;
                    Ok::<_, E>((value, head))
                })
            })
            .await?;
        act.set_recorded();
        self.witness().note(self.audit_key().public(), head).await;
        Ok(value)
    }

    /// Runs a change to its end, keeps what it returns, and undoes it.
    async fn preview<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + From<AccountsError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        let kept = Arc::new(Mutex::new(None));
        let shared = Arc::new((body, Arc::clone(&kept)));
        let undone = self
            .db()
            .write::<(), E, _>(move |tx| {
                let shared = Arc::clone(&shared);
                Box::pin(async move {
                    let (body, kept) = &*shared;
                    let value = body(tx).await?;
                    *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
                    Err(DbError::Aborted.into())
                })
            })
            .await;
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (kept, undone) {
            (Some(value), _) => Ok(value),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(DbError::Aborted.into()),
        }
    }

    /// The digest of a request that an entry or a remembered answer has.
    pub fn request_digest(&self, parts: &[&[u8]]) -> Digest {
        self.audit_key().request_digest(parts)
    }

    /// The key that heads are signed with.
    pub fn audit_public_key(&self) -> AuditPublicKey {
        self.audit_key().public()
    }

    /// The head, as it is stored.
    pub async fn audit_head(&self) -> Result<AuditHead, AccountsError> {
        const HEAD: &str = "SELECT sequence, at_ms, hash, signature FROM audit_head WHERE id = 1";
        let row = self.db().row(HEAD, [].into()).await?;
        let row = row.ok_or_else(|| AccountsError::Damaged { name: "audit_head".to_owned() })?;
        Ok(AuditHead {
            sequence: row.uint(0)?,
            at_ms: row.uint(1)?,
            hash: Digest(row.bytes(2)?),
            signature: row.text(3)?.to_owned(),
        })
    }

    /// Up to `limit` entries that the filter lets through, in order.
    pub async fn audit_entries(
        &self,
        filter: AuditFilter,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, AccountsError> {
        const PAGE: &str =
            "SELECT sequence, at_ms, actor, action, target, reason, outcome, request, payload, emptied, previous, hash
            FROM audit_entry WHERE sequence > $1 AND at_ms >= $2 ORDER BY sequence LIMIT $3";
        let params = [filter.after.into(), filter.since_ms.into(), limit.into()];
        let rows = self.db().rows(PAGE, params.into()).await?;
        rows.iter().map(from_row).collect()
    }

    /// Compares the log with the head in the file beside this gateway's keys; a file that contradicts it is kept as it
    /// is, and [`Accounts::verify_audit`] says so.
    pub(crate) async fn consult_witness(&self) -> Result<(), AccountsError> {
        let Some(seen) = self.witness().read()? else { return Ok(()) };
        let before = AuditFilter { after: seen.head.sequence.saturating_sub(1), since_ms: 0 };
        let entries = self.audit_entries(before, 1).await?;
        let is_there =
            |entry: &AuditEntry| (entry.sequence, entry.hash) == (seen.head.sequence, seen.head.hash);
        if seen.public_key != self.audit_public_key() || !entries.first().is_some_and(is_there) {
            error!(
                sequence = seen.head.sequence,
                "the audit log is not the one that this gateway once signed"
            );
            self.witness().keep();
        }
        Ok(())
    }

    /// Checks the whole log: the chain, the signed head, and the last head that this gateway wrote beside its keys.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, AccountsError> {
        Ok(self.verify_audit_after(None).await?.0)
    }

    /// The same of what follows a head up to which the log was found to be good, and the head up to which it was checked
    /// now. A log that ends before that head is checked whole: something is missing.
    pub async fn verify_audit_after(
        &self,
        verified: Option<&AuditHead>,
    ) -> Result<(AuditVerdict, AuditHead), AccountsError> {
        let (verdict, head) = self.check_audit(verified).await?;
        let is_altered = matches!(verdict.first_bad, Some((_, AuditFault::Altered)));
        if is_altered && self.audit_head().await?.sequence > head.sequence {
            // Entries may have been emptied meanwhile, which one after that head announces.
            return self.check_audit(verified).await;
        }
        Ok((verdict, head))
    }

    async fn check_audit(
        &self,
        verified: Option<&AuditHead>,
    ) -> Result<(AuditVerdict, AuditHead), AccountsError> {
        let key = self.audit_public_key();
        // First the witness, then the head, then the entries: each may only be behind what is read after it.
        let seen = self.witness().read()?;
        let head = self.audit_head().await?;
        let (mut check, mut filter) = (AuditCheck::new(key), AuditFilter::default());
        match verified {
            Some(verified) if verified.sequence <= head.sequence => {
                check = AuditCheck::after(key, verified);
                filter.after = verified.sequence;
            }
            Some(verified) => check.expect(WitnessedHead { public_key: key, head: verified.clone() }),
            None => {}
        }
        if let Some(seen) = seen {
            check.expect(seen);
        }
        loop {
            let page = self.audit_entries(filter, PAGE).await?;
            let Some(last) = page.last() else { break };
            filter.after = last.sequence;
            for entry in page.iter().filter(|entry| entry.sequence <= head.sequence) {
                check.push(entry);
            }
            if filter.after >= head.sequence {
                break;
            }
        }
        // Read again: what was appended meanwhile is signed by now.
        let newest = self.audit_head().await?;
        let beyond = AuditFilter { after: newest.sequence, since_ms: 0 };
        let unsigned = self.audit_entries(beyond, 1).await?;
        let is_newer = self.audit_head().await?.sequence > newest.sequence;
        if let (Some(entry), false) = (unsigned.first(), is_newer) {
            check.refuse_unsigned(entry.sequence);
        }
        Ok((check.finish(&head), head))
    }
}
