//! Admission: what a request takes of its owners' rates, and what it moves at their expense.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_types::AccountId;
use tokio::time::Instant;

use crate::controls::{Controls, Limiter, View, wait_of};
use crate::hold::Effect;
use crate::metering::{Charge, RequestClass, Traffic};
use crate::owner::{Month, Owner};
use crate::pacer::Pace;
use crate::quota::Amount;
use crate::share::{Permit, Permits};
use crate::warning::Warning;
use crate::{Accounts, AccountsError, Dimension, Limit, Stage};

/// Requests of an owner that may wait for their turn at once: beyond, one owner could hold up all others.
const QUEUE_LEN_MAX: usize = 64;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Received,
    /// To the client.
    Sent,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Received, Self::Sent];

    fn amount(self, bytes: u64) -> Amount {
        match self {
            Self::Received => Amount::new(bytes, 0),
            Self::Sent => Amount::new(0, bytes),
        }
    }

    /// What of an amount goes this way.
    const fn part_of(self, amount: Amount) -> Amount {
        match self {
            Self::Received => Amount { second: 0, ..amount },
            Self::Sent => Amount { first: 0, ..amount },
        }
    }

    const fn rate(self) -> Dimension {
        match self {
            Self::Received => Dimension::Upload,
            Self::Sent => Dimension::Download,
        }
    }
}

/// One request, from its admission to its last byte. Dropping it ends it.
pub struct Admission {
    accounts: Accounts,
    class: RequestClass,
    entered: Mutex<Entered>,
}

#[derive(Default)]
struct Entered {
    owners: Vec<(Arc<Controls>, Arc<View>)>,
    permits: Vec<Permit>,
    /// What was taken to be received and to be sent, and has not moved yet: less than nothing when more has moved.
    promised: Amount,
    /// The months of whose quota it was first taken, to be received and to be sent.
    taken_in: [Option<Month>; 2],
    /// What has moved.
    moved: Amount,
    charge: Charge,
    /// It failed through no fault of the client's.
    is_fault: bool,
}

impl Accounts {
    /// A request that is at nobody's expense yet.
    pub fn admission(&self, class: RequestClass) -> Admission {
        Admission { accounts: self.clone(), class, entered: Mutex::default() }
    }

    /// Checks an object's size against the limits of its account and its bucket.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`].
    pub async fn check_object_size(&self, owners: &[Owner], size: u64) -> Result<(), AccountsError> {
        for owner in owners {
            let view = self.controls().of(owner).view(self).await?;
            check_size(owner, &view, size)?;
        }
        Ok(())
    }
}

fn check_size(owner: &Owner, view: &View, size: u64) -> Result<(), AccountsError> {
    let dimension = Dimension::ObjectSize;
    let Some(limit) = view.limits.get(dimension).filter(|limit| size > limit.maximum) else { return Ok(()) };
    if limit.stage != Stage::Enforce {
        observed(owner, dimension);
        return Ok(());
    }
    Err(AccountsError::QuotaExceeded {
        owner: owner.clone(),
        dimension,
        limit: limit.maximum,
        used: 0,
        reserved: 0,
        requested: size,
    })
}

impl Admission {
    fn entered(&self) -> MutexGuard<'_, Entered> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the request at the expense of one more owner; a second time changes nothing. Waits for a turn, but not for
    /// long: rates are shaped before they are refused.
    ///
    /// # Errors
    /// [`AccountsError::Held`], [`AccountsError::Distrusted`], [`AccountsError::RateExceeded`],
    /// [`AccountsError::NoSuchAccount`].
    pub async fn enter(&self, owner: &Owner, effect: Effect) -> Result<(), AccountsError> {
        if self.entered().owners.iter().any(|(controls, _)| controls.owner == *owner) {
            return Ok(());
        }
        let controls = self.accounts.controls().of(owner);
        let view = controls.view(&self.accounts).await?;
        let now_ms = self.accounts.now_ms();
        let held = view.holds.iter().find(|hold| hold.is_active(now_ms) && hold.forbids(effect));
        if let Some(hold) = held {
            return Err(AccountsError::Held { kind: hold.kind, scope: hold.scope });
        }
        let minimum = self.accounts.config().abuse.upload_minimum;
        if let Some(reputation) = view.reputation.filter(|reputation| *reputation < minimum)
            && effect == Effect::Write
        {
            return Err(AccountsError::Distrusted { reputation, minimum });
        }
        let permit = match take_turn(&controls, &view) {
            Turn::Now(permit) => permit,
            Turn::Later(permit) => {
                let queue_time = self.accounts.config().queue_time;
                Box::pin(wait_for_turn(&controls, &view, permit, queue_time)).await?
            }
        };
        let mut entered = self.entered();
        entered.permits.extend(permit);
        entered.owners.push((controls, view));
        Ok(())
    }

    /// Says who signed: it is metered for them, unless a bucket lets it in.
    pub fn signed_by(&self, account: AccountId, key: Arc<str>) {
        self.entered().charge.signed_by(account, key);
    }

    /// Says that a bucket has let it in: the first one's owner has it metered.
    pub fn let_in(&self, account: AccountId, bucket: i64) {
        self.entered().charge.entered(account, bucket);
    }

    /// Says that it failed through no fault of the client's: service levels count it.
    pub fn failed(&self) {
        self.entered().is_fault = true;
    }

    /// Takes bytes of this month's quota, of all owners, before they move.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`]; nothing is taken then.
    pub async fn take(&self, direction: Direction, bytes: u64) -> Result<(), AccountsError> {
        if bytes == 0 {
            return Ok(());
        }
        let (month, amount) = (Month::of(self.accounts.now_ms()), direction.amount(bytes));
        let owners: Vec<_> = self.entered().owners.iter().map(|(controls, _)| Arc::clone(controls)).collect();
        for (index, controls) in owners.iter().enumerate() {
            if let Err(error) = controls.meter.take(&self.accounts, &controls.owner, (month, amount)).await {
                owners[..index].iter().for_each(|controls| controls.meter.give(month, amount));
                return Err(error);
            }
        }
        let mut entered = self.entered();
        entered.promised = entered.promised.plus(amount);
        entered.taken_in[direction as usize].get_or_insert(month);
        Ok(())
    }

    /// Bytes of a body's stream have moved. Those that were not taken before are counted, too.
    pub fn moved(&self, direction: Direction, bytes: u64, pace: &mut Pace) {
        let amount = direction.amount(bytes);
        let mut entered = self.entered();
        entered.promised = entered.promised.minus(amount);
        entered.moved = entered.moved.plus(amount);
        if entered.is_paced(direction) {
            pace.passed(bytes);
        }
    }

    /// What the client should be told of limits that are close.
    pub fn warnings(&self) -> Vec<Warning> {
        self.entered().owners.iter().flat_map(|(_, view)| view.warnings.iter().cloned()).collect()
    }

    /// Checks an object's size against the limits of everybody who has entered.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`].
    pub fn check_object_size(&self, size: u64) -> Result<(), AccountsError> {
        self.entered().owners.iter().try_for_each(|(controls, view)| check_size(&controls.owner, view, size))
    }

    /// Books the next turn of a body's stream; how long to wait before the next call. `None` when it may go on.
    pub fn turn(&self, direction: Direction, pace: &mut Pace) -> Option<Duration> {
        if pace.is_settled() {
            return None;
        }
        let entered = self.entered();
        let dimension = direction.rate();
        let queues = entered
            .owners
            .iter()
            .filter_map(|(controls, view)| Some((controls.pacer(direction), view.rate(dimension)?)));
        pace.turn(queues, self.accounts.elapsed())
    }

    /// A body's stream ends.
    pub fn leave(&self, direction: Direction, pace: &Pace) {
        for (controls, view) in &self.entered().owners {
            if let Some(rate) = view.rate(direction.rate()) {
                controls.pacer(direction).leave(pace.owed(), rate, self.accounts.elapsed());
            }
        }
    }
}

impl Entered {
    /// Whether a body in this direction has to keep to a rate at all.
    fn is_paced(&self, direction: Direction) -> bool {
        self.owners.iter().any(|(_, view)| view.limits.hard(direction.rate()).is_some())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let entered = self.entered.get_mut().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.accounts.now_ms();
        for direction in Direction::ALL {
            let left = direction.part_of(entered.promised);
            // It comes back to the month that it was taken of, even if that is over.
            let month = entered.taken_in[direction as usize].unwrap_or_else(|| Month::of(now_ms));
            if !left.is_zero() {
                entered.owners.iter().for_each(|(controls, _)| controls.meter.give(month, left));
            }
        }
        let traffic = Traffic::request(self.class, entered.moved.shown(0), entered.moved.shown(1));
        let metered = self.accounts.config().metering.then_some(traffic);
        self.accounts.traffic().add(&entered.charge, metered, now_ms, entered.is_fault);
    }
}

/// A request that waits; there is a limit to how many may.
struct Queued(Arc<AtomicUsize>);

impl Queued {
    fn new(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let queued = Self(Arc::clone(waiting));
        (before < QUEUE_LEN_MAX).then_some(queued)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What there is for a request of its owner's rates.
enum Turn {
    /// It may go on, with the permit to if their number is limited.
    Now(Option<Permit>),
    /// It has to wait, with the permit that it has.
    Later(Option<Permit>),
}

/// Takes what can be had without waiting: nearly always all of it, and then nothing has to be allocated for it.
fn take_turn(controls: &Controls, view: &View) -> Turn {
    let mut permit = None;
    if let Some((limit, permits)) = &view.operations {
        permit = permits.try_acquire();
        match (&permit, limit.stage) {
            (Some(_), _) => {}
            (None, Stage::Enforce) => return Turn::Later(None),
            (None, _) => observed(&controls.owner, Dimension::Operations),
        }
    }
    match &view.requests {
        Some((limit, limiter)) if !passes(controls, *limit, limiter) => Turn::Later(permit),
        _ => Turn::Now(permit),
    }
}

/// Waits until one more operation may run; the permit to, if their number is limited.
async fn wait_for_turn(
    controls: &Controls,
    view: &View,
    permit: Option<Permit>,
    queue_time: Duration,
) -> Result<Option<Permit>, AccountsError> {
    let deadline = Instant::now() + queue_time;
    let permit = match (&view.operations, permit) {
        (Some((limit, permits)), None) if limit.stage == Stage::Enforce => {
            Some(wait_for_permit(controls, *limit, permits, deadline).await?)
        }
        (_, permit) => permit,
    };
    if let Some((limit, limiter)) = &view.requests {
        pass(controls, *limit, limiter, deadline).await?;
    }
    Ok(permit)
}

/// A permit for one more operation at once.
async fn wait_for_permit(
    controls: &Controls,
    limit: Limit,
    permits: &Arc<Permits>,
    deadline: Instant,
) -> Result<Permit, AccountsError> {
    let refusal = || exceeded(&controls.owner, Dimension::Operations, limit, Duration::from_secs(1));
    let _queued = Queued::new(&controls.waiting).ok_or_else(refusal)?;
    let permit = tokio::time::timeout_at(deadline, permits.acquire()).await;
    permit.ok().flatten().ok_or_else(refusal)
}

/// Whether the rate allows one more request at once. Nobody is overtaken by those who came later.
fn passes(controls: &Controls, limit: Limit, limiter: &Limiter) -> bool {
    if limit.stage != Stage::Enforce {
        if wait_of(limiter).is_some() {
            observed(&controls.owner, Dimension::Requests);
        }
        return true;
    }
    let is_first = controls.waiting.load(Ordering::Relaxed) == 0;
    is_first && wait_of(limiter).is_none()
}

/// Waits until the rate allows one more request. First come, first served, until the time of who came first is over.
async fn pass(
    controls: &Controls,
    limit: Limit,
    limiter: &Limiter,
    deadline: Instant,
) -> Result<(), AccountsError> {
    if passes(controls, limit, limiter) {
        return Ok(());
    }
    let refusal = |wait| exceeded(&controls.owner, Dimension::Requests, limit, wait);
    let _queued = Queued::new(&controls.waiting).ok_or_else(|| refusal(Duration::from_secs(1)))?;
    let next = tokio::time::timeout_at(deadline, controls.next.lock()).await;
    let _next = next.map_err(|_| refusal(Duration::from_secs(1)))?;
    while let Some(wait) = wait_of(limiter) {
        if Instant::now() + wait > deadline {
            return Err(refusal(wait));
        }
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

fn exceeded(owner: &Owner, dimension: Dimension, limit: Limit, retry_after: Duration) -> AccountsError {
    AccountsError::RateExceeded { owner: owner.clone(), dimension, limit: limit.maximum, retry_after }
}

/// A limit that is only observed would have refused.
fn observed(owner: &Owner, dimension: Dimension) {
    tracing::info!(%owner, %dimension, "a limit that is not enforced was exceeded");
}
