//! Traffic and requests: added up in memory, and delivered as events every few seconds.
//!
//! A gateway that is killed loses what it has not delivered ([`crate::FLUSH_EVERY`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datamesh_types::AccountId;

use super::event::{Event, Metered};
use super::measures::Traffic;
use super::span::Grain;
use crate::service_level::WindowCounts;
use crate::{Accounts, AccountsError};

/// Events per transaction.
const STEP: usize = 100;

/// Who pays for a request: the owner of the first bucket that it was let into, else whoever signed it.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    signer: Option<(AccountId, Arc<str>)>,
    bucket: Option<(AccountId, i64)>,
}

impl Charge {
    pub(crate) fn signed_by(&mut self, account: AccountId, key: Arc<str>) {
        self.signer.get_or_insert((account, key));
    }

    pub(crate) fn entered(&mut self, account: AccountId, bucket: i64) {
        self.bucket.get_or_insert((account, bucket));
    }

    /// Nobody pays for what nobody signed and no bucket let in. Other accounts' keys are not shown to a bucket's owner.
    fn metered(&self) -> Option<Metered> {
        let signer = self.signer.as_ref();
        let (account, bucket) = self.bucket.or_else(|| Some((signer?.0, 0)))?;
        let key =
            signer.filter(|(of, _)| *of == account).map_or_else(|| "".into(), |(_, key)| Arc::clone(key));
        Some(Metered { account, bucket, key })
    }
}

/// What one gateway has seen and not delivered yet.
#[derive(Default)]
pub(crate) struct TrafficLog {
    open: Mutex<Open>,
    /// What is being delivered, by sequence number: the same until it has been.
    delivering: tokio::sync::Mutex<Vec<(u64, Event)>>,
}

/// What requests that are over are added to, all under one lock.
#[derive(Default)]
struct Open {
    /// By who pays, and by the hour. Bounded by how many buckets and keys are in use at once.
    traffic: HashMap<(Metered, u64), Seen>,
    windows: WindowCounts,
}

#[derive(Default)]
struct Seen {
    last_ms: u64,
    traffic: Traffic,
}

impl TrafficLog {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is counted for service levels.
    pub(crate) fn windows<T>(&self, with: impl FnOnce(&mut WindowCounts) -> T) -> T {
        with(&mut self.open().windows)
    }

    /// A request is over. Service levels count it, whether its traffic is metered or not.
    pub(crate) fn add(&self, charge: &Charge, traffic: Option<Traffic>, now_ms: u64, is_fault: bool) {
        let Some(metered) = charge.metered() else { return };
        let (hour, _) = Grain::Hour.span(now_ms);
        let mut open = self.open();
        open.windows.add(metered.account, now_ms, is_fault);
        let Some(traffic) = traffic else { return };
        let seen = open.traffic.entry((metered, hour)).or_default();
        seen.last_ms = seen.last_ms.max(now_ms);
        seen.traffic += traffic;
    }
}

impl Accounts {
    /// Delivers what was seen since the last time. What could not be delivered stays, under the same names: whether it
    /// arrived all the same does not matter.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn deliver_traffic(&self) -> Result<(), AccountsError> {
        let log = self.traffic();
        let mut delivering = log.delivering.lock().await;
        loop {
            if delivering.is_empty() {
                let seen = std::mem::take(&mut log.open().traffic);
                delivering.extend(seen.into_iter().map(|((metered, _), Seen { last_ms, traffic })| {
                    let event = Event { metered, at_ms: last_ms, bytes: 0, objects: 0, traffic };
                    (self.events().next(), event)
                }));
            }
            if delivering.is_empty() {
                return Ok(());
            }
            let rest = delivering.len().saturating_sub(STEP);
            let step: Arc<[(u64, Event)]> = delivering[rest..].into();
            let source = self.events().id();
            self.db()
                .write::<_, AccountsError, _>(move |tx| {
                    let step = Arc::clone(&step);
                    Box::pin(async move {
                        for (sequence, event) in step.iter() {
                            event.deliver(tx, &source, *sequence).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
            delivering.truncate(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bucket_that_lets_a_request_in_pays_and_sees_only_its_own_keys() {
        let [owner, guest] = [AccountId([1; 16]), AccountId([2; 16])];
        let metered = |account, bucket, key: &str| Some(Metered { account, bucket, key: key.into() });
        let mut charge = Charge::default();
        assert_eq!(charge.metered(), None);
        charge.signed_by(guest, "GUEST".into());
        assert_eq!(charge.metered(), metered(guest, 0, "GUEST"));
        charge.entered(owner, 7);
        charge.entered(guest, 8);
        assert_eq!(charge.metered(), metered(owner, 7, ""));
        let mut own = Charge::default();
        own.signed_by(owner, "OWNER".into());
        own.entered(owner, 7);
        assert_eq!(own.metered(), metered(owner, 7, "OWNER"));
    }
}
