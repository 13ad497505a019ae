//! A case of abuse, and its row.

use datamesh_db::{Row, Tx};
use datamesh_types::AccountId;
use serde::Serialize;

use crate::AccountsError;
use crate::named::named;

/// What kind of abuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AbuseKind {
    /// Unwanted mail or pages.
    Spam,
    /// Programs that do harm.
    Malware,
    /// Pages that steal secrets.
    Phishing,
    /// Works of others.
    Copyright,
    /// On the service or on others.
    Attack,
    /// Anything else.
    Other,
}

named!(AbuseKind {
    Spam = "spam", Malware = "malware", Phishing = "phishing", Copyright = "copyright", Attack = "attack",
    Other = "other",
} name => AccountsError::InvalidCase {
    reason: format!("{name:?} is not one of spam, malware, phishing, copyright, attack and other"),
});

/// The state of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AbuseStatus {
    /// Nobody has decided.
    Open,
    /// It was abuse.
    Upheld,
    /// It was none.
    Rejected,
}

named!(AbuseStatus { Open = "open", Upheld = "upheld", Rejected = "rejected" } name => AccountsError::InvalidCase {
    reason: format!("{name:?} is not one of open, upheld and rejected"),
});

/// A case of abuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbuseCase {
    /// Its id.
    pub id: String,
    /// Who is said to have done it.
    pub account: AccountId,
    /// Of what kind.
    pub kind: AbuseKind,
    /// What was decided.
    pub status: AbuseStatus,
    /// What was reported.
    pub evidence: String,
    /// By how many basis points it lowers the reputation, while it is upheld.
    pub penalty: u64,
    /// When it was reported, milliseconds since 1970.
    pub opened_at_ms: u64,
    /// When it was last decided.
    pub decided_at_ms: Option<u64>,
    /// Until when it counts.
    pub expires_at_ms: Option<u64>,
}

impl AbuseCase {
    /// Whether it counts at this moment.
    pub fn counts(&self, now_ms: u64) -> bool {
        self.status == AbuseStatus::Upheld && self.expires_at_ms.is_some_and(|expires| expires > now_ms)
    }
}

/// A statement that reads cases.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, kind, status, evidence, penalty, opened_at_ms, decided_at_ms, expires_at_ms
             FROM abuse_case ",
            $rest
        )
    };
}
pub(super) use select;

pub(super) fn from_row(row: &Row) -> Result<AbuseCase, AccountsError> {
    Ok(AbuseCase {
        id: row.text(0)?.to_owned(),
        account: AccountId(row.bytes(1)?),
        kind: row.text(2)?.parse()?,
        status: row.text(3)?.parse()?,
        evidence: row.text(4)?.to_owned(),
        penalty: row.uint(5)?,
        opened_at_ms: row.uint(6)?,
        decided_at_ms: row.opt_int(7)?.map(i64::cast_unsigned),
        expires_at_ms: row.opt_int(8)?.map(i64::cast_unsigned),
    })
}

pub(super) async fn cases_of(tx: &mut Tx, account: AccountId) -> Result<Vec<AbuseCase>, AccountsError> {
    const OF: &str = select!("WHERE account = $1 ORDER BY opened_at_ms, id");
    tx.query(OF, &[account.into()]).await?.iter().map(from_row).collect()
}
