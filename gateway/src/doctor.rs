//! The doctor: checks that every reference has its chunk, every chunk its shards, and that accounted usage is true.
//!
//! It works in pages and reports as it goes, so that its memory doesn't grow with what is stored. The system may
//! be in use meanwhile: what looks wrong is looked at again before it is reported.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_accounts::{Accounts, AccountsError};
use datamesh_backend::{BackendError, Presence};
use datamesh_catalog::{Catalog, CatalogError};
use datamesh_types::{AccountId, GroupId, Location, SealedId};
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::holdings::Holdings;

/// Chunks per step.
const PAGE: usize = 256;
/// Chunks looked at at the same time.
const IN_FLIGHT: usize = 16;
/// How often usage that disagrees is read again, and the pause before: a commit may lie between two reads.
const USAGE_TRIES: usize = 5;
const USAGE_PAUSE: Duration = Duration::from_millis(200);

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// The catalog contradicts itself.
    Catalog {
        /// How, in words.
        detail: String,
    },
    /// A chunk has fewer good pieces than it should.
    ChunkIncomplete {
        /// The sealed chunk.
        sealed: SealedId,
        /// Its placement group.
        group: GroupId,
        /// Pieces that were read back and are good.
        good: usize,
        /// Pieces whose node did not answer.
        unknown: usize,
        /// Pieces that it should have.
        total: usize,
        /// Pieces that it needs.
        needed: usize,
        /// Whether it cannot be read any more, whatever the nodes that did not answer have.
        lost: bool,
    },
    /// A chunk that a backend could not be asked about.
    ChunkUnchecked {
        /// The sealed chunk.
        sealed: SealedId,
        /// Why.
        detail: String,
    },
    /// Accounted usage differs from what is stored.
    Usage {
        /// The account.
        account: AccountId,
        /// Bytes as accounted for the quota.
        bytes_accounted: u64,
        /// Bytes as counted from the versions.
        bytes_counted: u64,
        /// Objects as accounted for the quota.
        objects_accounted: u64,
        /// Objects as counted from the versions.
        objects_counted: u64,
    },
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DoctorReport {
    /// Whether nothing was found.
    pub healthy: bool,
    /// How many findings there were.
    pub findings_total: u64,
    /// Rows of the catalog that were checked.
    pub rows_checked: u64,
    /// Chunks whose pieces were read back.
    pub chunks_checked: u64,
    /// Pieces that were read back and are good.
    pub pieces_good: u64,
    /// Pieces whose node did not answer.
    pub pieces_unknown: u64,
    /// Accounts whose usage was compared.
    pub accounts_checked: u64,
}

/// The check itself could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The accounts.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// Nobody listens any more.
    #[error("the caller has gone")]
    Abandoned,
}

/// Checks the whole system.
pub struct Doctor {
    catalog: Catalog,
    accounts: Accounts,
    holdings: Holdings,
    findings: mpsc::Sender<Finding>,
    report: DoctorReport,
}

impl Doctor {
    /// A doctor who sends what it finds into `findings`; a slow reader slows it down.
    pub fn new(
        catalog: Catalog,
        accounts: Accounts,
        holdings: Holdings,
        findings: mpsc::Sender<Finding>,
    ) -> Self {
        Self { catalog, accounts, holdings, findings, report: DoctorReport::default() }
    }

    /// Runs every check; a quick one reads no chunk back.
    pub async fn run(mut self, quick: bool) -> Result<DoctorReport, DoctorError> {
        self.check_catalog().await?;
        self.check_usage().await?;
        if !quick {
            for group in self.catalog.groups().await? {
                self.check_group(group.id).await?;
            }
            self.check_group(GroupId::NONE).await?;
        }
        self.report.healthy = self.report.findings_total == 0;
        Ok(self.report)
    }

    async fn found(&mut self, finding: Finding) -> Result<(), DoctorError> {
        self.report.findings_total += 1;
        self.findings.send(finding).await.map_err(|_| DoctorError::Abandoned)
    }

    async fn check_catalog(&mut self) -> Result<(), DoctorError> {
        let mut position = None;
        loop {
            let page = self.catalog.check(position).await?;
            self.report.rows_checked += page.rows;
            for finding in page.findings {
                self.found(Finding::Catalog { detail: format!("{finding:?}") }).await?;
            }
            position = page.next;
            if position.is_none() {
                return Ok(());
            }
        }
    }

    async fn check_usage(&mut self) -> Result<(), DoctorError> {
        let mut differing = BTreeMap::new();
        for attempt in 0..USAGE_TRIES {
            let counted = self.catalog.usage().await?;
            let accounted = self.accounts.usage_of_all().await?;
            self.report.accounts_checked = accounted.len() as u64;
            let now = compare(&counted, &accounted);
            if now.is_empty() {
                return Ok(());
            }
            // What differs by the same amount twice was not caught in the middle of a commit.
            if attempt + 1 == USAGE_TRIES || now == differing {
                for finding in now.into_values() {
                    self.found(finding).await?;
                }
                return Ok(());
            }
            differing = now;
            tokio::time::sleep(USAGE_PAUSE).await;
        }
        Ok(())
    }

    async fn check_group(&mut self, group: GroupId) -> Result<(), DoctorError> {
        let mut after = None;
        loop {
            let page = self.catalog.chunks_in_group(group, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.location.sealed);
            let locations: Vec<_> = page.into_iter().map(|chunk| chunk.location).collect();
            let holdings = self.holdings.clone();
            let checks = locations.into_iter().map(|location| presence(holdings.clone(), location));
            let checked: Vec<_> = futures::stream::iter(checks).buffered(IN_FLIGHT).collect().await;
            for (location, presence) in checked {
                self.judge(location, presence).await?;
            }
        }
    }

    async fn judge(
        &mut self,
        location: Location,
        presence: Result<Presence, BackendError>,
    ) -> Result<(), DoctorError> {
        self.report.chunks_checked += 1;
        let sealed = location.sealed;
        let finding = match presence {
            Ok(presence) => {
                self.report.pieces_good += presence.good as u64;
                self.report.pieces_unknown += presence.unknown as u64;
                if presence.complete() {
                    return Ok(());
                }
                let Presence { good, unknown, total, needed } = presence;
                let (group, lost) = (location.group, presence.lost());
                Finding::ChunkIncomplete { sealed, group, good, unknown, total, needed, lost }
            }
            Err(error) => Finding::ChunkUnchecked { sealed, detail: datamesh_node::one_line(&error) },
        };
        if self.still_there(location).await? { self.found(finding).await } else { Ok(()) }
    }

    /// Whether the catalog still has the chunk: it may have been collected since its page was read.
    async fn still_there(&self, location: Location) -> Result<bool, DoctorError> {
        let Location { group, sealed, .. } = location;
        let before = u128::from_be_bytes(sealed.0).checked_sub(1).map(|id| SealedId(id.to_be_bytes()));
        let next = self.catalog.chunks_in_group(group, before, 1).await?;
        Ok(next.first().is_some_and(|next| next.location.sealed == sealed))
    }
}

/// The accounts whose accounted usage is not what is stored.
fn compare(
    counted: &[datamesh_catalog::AccountUsage],
    accounted: &[datamesh_accounts::AccountUsage],
) -> BTreeMap<AccountId, Finding> {
    let mut pairs = BTreeMap::<AccountId, [(u64, u64); 2]>::new();
    for usage in counted {
        pairs.entry(usage.account).or_default()[0] = (usage.bytes, usage.objects);
    }
    for usage in accounted {
        pairs.entry(usage.account).or_default()[1] = (usage.bytes.used, usage.objects.used);
    }
    let differing = pairs.into_iter().filter(|(_, [counted, accounted])| counted != accounted);
    let finding = |(account, [counted, accounted]): (AccountId, [(u64, u64); 2])| {
        let finding = Finding::Usage {
            account,
            bytes_accounted: accounted.0,
            bytes_counted: counted.0,
            objects_accounted: accounted.1,
            objects_counted: counted.1,
        };
        (account, finding)
    };
    differing.map(finding).collect()
}

/// How much of a chunk is there. A location doesn't name its backend; sealed ids are random, so whoever has the chunk
/// is the right one.
async fn presence(holdings: Holdings, location: Location) -> (Location, Result<Presence, BackendError>) {
    let mut best: Result<Presence, _> = Err(BackendError::NotFound { sealed: location.sealed });
    for backend in holdings.backends_of(location.group) {
        match (backend.presence(&location).await, &best) {
            (Ok(presence), _) if presence.complete() => return (location, Ok(presence)),
            (Ok(presence), Ok(other)) if presence.good <= other.good => {}
            (Ok(presence), _) => best = Ok(presence),
            (Err(error), Err(_)) => best = Err(error),
            (Err(_), Ok(_)) => {}
        }
    }
    (location, best)
}
