//! Forgetting what entries of the audit log say: who, to what and why. That there was something, what and when it was, and
//! the hashes stay.
//!
//! What is to be forgotten is announced by an entry of its own before it is, so that an entry that somebody else has emptied
//! shows: nothing that was signed announces it. The newest announcement is younger than what it announces, and the next one
//! covers it too, so it is never the last of its kind that is forgotten.

use std::time::Duration;

use super::{AuditEntry, Digest, NewEntry, Outcome};
use crate::{Accounts, AccountsError};

/// What an announcement is called. No route has this name, so nobody can have one written.
const ACTION: &str = "audit.expire";
const ACTOR: &str = "gateway";
/// Before the number of the last entry that may be forgotten.
const UP_TO: &str = "entries:";
/// Entries per transaction.
const STEP: u64 = 1_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// What a check has seen of entries that were emptied.
#[derive(Debug, Default)]
pub(super) struct Emptied {
    /// Their numbers as ranges, in order: those that were forgotten in their time are one, or few.
    ranges: Vec<(u64, u64)>,
    /// Up to which number that was announced.
    announced: u64,
}

impl Emptied {
    /// Takes the next entry into account.
    pub(super) fn push(&mut self, entry: &AuditEntry) {
        if entry.emptied {
            match self.ranges.last_mut() {
                Some((_, last)) if *last + 1 == entry.sequence => *last = entry.sequence,
                _ => self.ranges.push((entry.sequence, entry.sequence)),
            }
        } else if entry.action == ACTION && entry.is_whole() {
            let up_to = entry.target.strip_prefix(UP_TO).and_then(|number| number.parse().ok());
            let up_to = up_to.filter(|up_to| *up_to < entry.sequence).unwrap_or(0);
            self.announced = self.announced.max(up_to);
        }
    }

    /// The first entry that is empty although nothing announced it.
    pub(super) fn first_unannounced(&self) -> Option<u64> {
        let beyond = self.ranges.iter().find(|(_, last)| *last > self.announced);
        beyond.map(|(first, _)| (*first).max(self.announced + 1))
    }
}

impl Accounts {
    /// Forgets what entries say that are older than `age`, by whole days; how many there were. What was announced and not
    /// done, because the gateway died, is done the next time. Entries of version 1 stay whole.
    ///
    /// # Errors
    /// Those of the database; what was forgotten before stays so.
    pub async fn expire_audit(&self, age: Duration) -> Result<u64, AccountsError> {
        let before_ms = self.now_ms().saturating_sub(age.as_millis() as u64) / DAY_MS * DAY_MS;
        let (after, up_to) = self.expired_audit(before_ms).await?;
        if up_to <= after {
            return Ok(0);
        }
        let announcement = NewEntry {
            actor: ACTOR.to_owned(),
            action: ACTION.to_owned(),
            target: format!("{UP_TO}{up_to}"),
            reason: String::new(),
            outcome: Outcome::Done,
            request: Digest::NONE,
        };
        self.record(announcement).await?;
        let mut emptied = 0;
        for after in (after..up_to).step_by(STEP as usize) {
            emptied += self.empty_audit(after, up_to.min(after + STEP)).await?;
        }
        Ok(emptied)
    }

    /// Up to which number entries have been emptied, and up to which they are older than that.
    async fn expired_audit(&self, before_ms: u64) -> Result<(u64, u64), AccountsError> {
        const EMPTIED: &str = "SELECT emptied FROM audit_head WHERE id = 1";
        const FIRST_KEPT: &str = "SELECT sequence FROM audit_entry WHERE sequence > $1 AND at_ms >= $2
            ORDER BY sequence LIMIT 1";
        let row = self.db().row(EMPTIED, [].into()).await?;
        let row = row.ok_or_else(|| AccountsError::Damaged { name: "audit_head".to_owned() })?;
        let after = row.uint(0)?;
        let kept = self.db().row(FIRST_KEPT, [after.into(), before_ms.into()].into()).await?;
        let up_to = match kept {
            Some(row) => row.uint(0)?.saturating_sub(1),
            None => self.audit_head().await?.sequence,
        };
        Ok((after, up_to))
    }

    /// Empties the entries after one number up to another.
    async fn empty_audit(&self, after: u64, up_to: u64) -> Result<u64, AccountsError> {
        const EMPTY: &str =
            "UPDATE audit_entry SET actor = '', target = '', reason = '', request = $3, emptied = 1
            WHERE sequence > $1 AND sequence <= $2 AND payload IS NOT NULL AND emptied = 0";
        const DONE: &str = "UPDATE audit_head SET emptied = $1 WHERE id = 1 AND emptied < $1";
        self.db()
            .write(move |tx| {
                Box::pin(async move {
                    let params = [after.into(), up_to.into(), (&Digest::NONE.0).into()];
                    let emptied = tx.execute(EMPTY, &params).await?;
                    tx.execute(DONE, &[up_to.into()]).await?;
                    Ok(emptied)
                })
            })
            .await
    }
}
