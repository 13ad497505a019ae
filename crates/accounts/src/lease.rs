//! Quota that a gateway holds in advance, so that a small upload costs no transaction of its own.
//!
//! A gateway has one reservation row for each book with a limit that it writes in. Far from the limit the row is larger than
//! what uploads hold at the moment, and most reservations are taken from it in memory; near the limit it is exactly
//! as large. The row expires unless it is renewed, so that a killed gateway holds nothing for long.
//!
//! Memory may know less of a row than the database has (after a commit whose outcome is unknown), never more:
//! memory is lowered before a transaction that lowers the row, and raised after one that raises it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::owner::Book;
use crate::quota::Amount;

/// A lease, and the turn to talk to the database about it.
pub(crate) struct Lease {
    pub(crate) book: Book,
    /// One task at a time reserves more or gives back; the others wait and then look again.
    pub(crate) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// The row; `None` before the first and after the last was lost.
    row: Option<RowState>,
    /// The book had no limits when looked at, at this time.
    unlimited_since: Option<Duration>,
    used_at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct RowState {
    id: [u8; 16],
    free: Amount,
    /// Reservations that took from it and are still open.
    holders: u64,
    expires_at_ms: u64,
    since: Duration,
    /// Whether the account was far from its limit, so that `free` may stay.
    roomy: bool,
}

/// A row seen from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowView {
    pub(crate) id: [u8; 16],
    pub(crate) holders: u64,
    pub(crate) since: Duration,
}

/// What memory can say to a request.
pub(crate) enum Taken {
    /// Taken from the row with this id.
    Held([u8; 16]),
    /// The book has no limits.
    Unlimited,
    /// The database must be asked for this much more.
    Short { row: Option<[u8; 16]>, missing: Amount },
}

impl Lease {
    fn new(book: Book, now: Duration) -> Self {
        let state = State { row: None, unlimited_since: None, used_at: now };
        Self { book, turn: tokio::sync::Mutex::new(()), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `amount` from the row `held` (any, if `None`), when it is valid beyond `valid_until_ms`.
    pub(crate) fn take(
        &self,
        amount: Amount,
        held: Option<[u8; 16]>,
        now: Duration,
        valid_until_ms: u64,
        unlimited_for: Duration,
    ) -> Taken {
        let mut state = self.state();
        state.used_at = now;
        if held.is_none()
            && state.unlimited_since.is_some_and(|since| now.saturating_sub(since) < unlimited_for)
        {
            return Taken::Unlimited;
        }
        match &mut state.row {
            Some(row) if row.expires_at_ms > valid_until_ms && held.is_none_or(|held| held == row.id) => {
                if row.free.covers(amount) {
                    row.free = row.free.minus(amount);
                    row.holders += u64::from(held.is_none());
                    return Taken::Held(row.id);
                }
                let missing = amount.minus(row.free).each(Amount::default(), i64::max);
                Taken::Short { row: Some(row.id), missing }
            }
            _ => Taken::Short { row: None, missing: amount },
        }
    }

    pub(crate) fn set_unlimited(&self, since: Option<Duration>) {
        self.state().unlimited_since = since;
    }

    /// The database has granted `amount` in the row `id`.
    pub(crate) fn grant(&self, id: [u8; 16], amount: Amount, expires_at_ms: u64, roomy: bool, now: Duration) {
        let mut state = self.state();
        match &mut state.row {
            Some(row) if row.id == id => {
                row.free = row.free.plus(amount);
                row.expires_at_ms = expires_at_ms;
                row.roomy = roomy;
            }
            row => *row = Some(RowState { id, free: amount, holders: 0, expires_at_ms, since: now, roomy }),
        }
    }

    /// A reservation of the row `id` leaves `amount`, and goes on. Whether the row now holds more than it should.
    pub(crate) fn put_back(&self, id: [u8; 16], amount: Amount) -> bool {
        self.leave(id, amount, 0)
    }

    /// A reservation of the row `id` ends and leaves `amount`. Whether the row now holds more than it should.
    pub(crate) fn give_back(&self, id: [u8; 16], amount: Amount) -> bool {
        self.leave(id, amount, 1)
    }

    fn leave(&self, id: [u8; 16], amount: Amount, ended: u64) -> bool {
        match &mut self.state().row {
            Some(row) if row.id == id => {
                row.free = row.free.plus(amount);
                row.holders = row.holders.saturating_sub(ended);
                !row.roomy && !row.free.is_zero()
            }
            _ => false,
        }
    }

    /// Takes out all that is free, to be given back to the book.
    pub(crate) fn take_free(&self) -> Option<([u8; 16], Amount)> {
        let mut state = self.state();
        let row = state.row.as_mut()?;
        let free = std::mem::take(&mut row.free);
        (!free.is_zero()).then_some((row.id, free))
    }

    pub(crate) fn view(&self) -> Option<RowView> {
        let row = self.state().row?;
        Some(RowView { id: row.id, holders: row.holders, since: row.since })
    }

    pub(crate) fn used_at(&self) -> Duration {
        self.state().used_at
    }

    pub(crate) fn renewed(&self, id: [u8; 16], expires_at_ms: u64) {
        if let Some(row) = &mut self.state().row
            && row.id == id
        {
            row.expires_at_ms = expires_at_ms;
        }
    }

    /// Forgets the row `id` if nobody holds any of it (or, with `whatever`, in any case).
    pub(crate) fn forget_row(&self, id: [u8; 16], whatever: bool) -> bool {
        let mut state = self.state();
        let forget = state.row.is_some_and(|row| row.id == id && (whatever || row.holders == 0));
        if forget {
            state.row = None;
        }
        forget
    }
}

/// The leases of one gateway.
#[derive(Default)]
pub(crate) struct Leases {
    by_book: Mutex<HashMap<Book, Arc<Lease>>>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<Book, Arc<Lease>>> {
        self.by_book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, book: &Book, now: Duration) -> Arc<Lease> {
        let mut leases = self.lock();
        if let Some(lease) = leases.get(book) {
            return Arc::clone(lease);
        }
        let lease = Arc::new(Lease::new(book.clone(), now));
        leases.insert(book.clone(), Arc::clone(&lease));
        lease
    }

    pub(crate) fn all(&self) -> Vec<Arc<Lease>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn forget_unlimited(&self, book: &Book) {
        if let Some(lease) = self.lock().get(book) {
            lease.set_unlimited(None);
        }
    }

    /// Drops the entries that hold nothing and that nobody uses.
    pub(crate) fn prune(&self, now: Duration, idle: Duration) {
        self.lock().retain(|_, lease| {
            lease.view().is_some()
                || Arc::strong_count(lease) > 1
                || now.saturating_sub(lease.used_at()) < idle
        });
    }
}
