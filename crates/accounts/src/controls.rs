//! Controls: an owner's limits as one gateway applies them, kept in memory so that a request costs no SQL.
//!
//! They are loaded again every few seconds while they are used. Rates are divided among the gateways that serve the owner:
//! each leases a share, which is one of as many as there are leases. A gateway that joins gets its share at once, the
//! others give theirs up at their next renewal, a third of the lease's life later; until then the sum may be exceeded.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_db::Tx;
use governor::RateLimiter;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};

use crate::conduct;
use crate::hold::{self, Hold};
use crate::meter::Meter;
use crate::owner::{Month, Owner};
use crate::pacer::Pacer;
use crate::quota;
use crate::share::{OperationShare, Permits, RequestShare};
use crate::subscription::limits_of;
use crate::warning::Warning;
use crate::{Accounts, AccountsError, Clock, Dimension, Direction, Limit, LimitSet, Reputation};

/// How long loaded limits and holds count.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// How long controls are kept that nobody uses.
const KEPT_FOR: Duration = Duration::from_mins(10);
const RATES: [Dimension; 4] =
    [Dimension::Requests, Dimension::Operations, Dimension::Upload, Dimension::Download];

/// The accounts' clock as the rate limiter reads it.
#[derive(Clone)]
pub(crate) struct LimiterClock(pub(crate) Arc<dyn Clock>);

impl governor::clock::Clock for LimiterClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

pub(crate) type Limiter = RateLimiter<NotKeyed, InMemoryState, LimiterClock, NoOpMiddleware<Duration>>;

/// One owner's.
pub(crate) struct Controls {
    pub(crate) owner: Owner,
    pub(crate) meter: Meter,
    upload: Pacer,
    download: Pacer,
    /// Requests that wait for their turn.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// Held by the request that is next to pass at its rate; the others stand behind it in the order they came.
    pub(crate) next: tokio::sync::Mutex<()>,
    /// One task at a time loads.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loaded_at: Option<Duration>,
    used_at: Duration,
    limits: LimitSet,
    holds: Arc<[Hold]>,
    reputation: Option<Reputation>,
    warnings: Arc<[Warning]>,
    /// How many gateways share the rates, and when this one last said that it is one of them.
    gateways: u64,
    leased_at: Option<Duration>,
    requests: Option<RequestShare>,
    operations: Option<OperationShare>,
    /// What requests get of it, made anew by each loading.
    view: Option<Arc<View>>,
}

/// The controls as they are at one moment.
pub(crate) struct View {
    pub(crate) limits: LimitSet,
    pub(crate) holds: Arc<[Hold]>,
    /// That of an account.
    pub(crate) reputation: Option<Reputation>,
    /// What clients should be told.
    pub(crate) warnings: Arc<[Warning]>,
    pub(crate) requests: Option<(Limit, Arc<Limiter>)>,
    pub(crate) operations: Option<(Limit, Arc<Permits>)>,
    gateways: u64,
}

impl View {
    /// This gateway's share of a rate that is enforced.
    pub(crate) fn rate(&self, dimension: Dimension) -> Option<u64> {
        Some((self.limits.hard(dimension)? / self.gateways.max(1)).max(1))
    }
}

/// When the limiter would let the next request pass; `None` lets this one.
pub(crate) fn wait_of(limiter: &Limiter) -> Option<Duration> {
    limiter.check().err().map(|not_until| not_until.wait_time_from(limiter.clock().now()))
}

impl Controls {
    fn new(owner: Owner) -> Self {
        Self {
            owner,
            meter: Meter::default(),
            upload: Pacer::default(),
            download: Pacer::default(),
            waiting: Arc::default(),
            next: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    pub(crate) const fn pacer(&self, direction: Direction) -> &Pacer {
        match direction {
            Direction::Received => &self.upload,
            Direction::Sent => &self.download,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The controls, loaded if they are not fresh.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccount`]; those of the database when nothing was ever loaded.
    pub(crate) async fn view(&self, accounts: &Accounts) -> Result<Arc<View>, AccountsError> {
        match self.fresh(accounts.elapsed()) {
            Some(view) => Ok(view),
            None => Box::pin(self.refreshed(accounts)).await,
        }
    }

    /// The controls, unless they have to be loaded.
    fn fresh(&self, now: Duration) -> Option<Arc<View>> {
        let mut state = self.state();
        state.used_at = now;
        state.loaded_at.filter(|at| now.saturating_sub(*at) < FRESH_FOR)?;
        state.view.clone()
    }

    async fn refreshed(&self, accounts: &Accounts) -> Result<Arc<View>, AccountsError> {
        let _turn = self.turn.lock().await;
        match self.fresh(accounts.elapsed()) {
            Some(view) => Ok(view),
            None => self.load(accounts).await,
        }
    }

    async fn load(&self, accounts: &Accounts) -> Result<Arc<View>, AccountsError> {
        let (owner, month) = (self.owner.clone(), Month::of(accounts.now_ms()));
        let now_ms = accounts.now_ms();
        let (limits, holds, reputation, warnings) = accounts
            .db()
            .read::<_, AccountsError, _>(move |tx| {
                let owner = owner.clone();
                Box::pin(async move {
                    let limits = limits_of(tx, &owner).await?;
                    let (holds, reputation) = match &owner {
                        Owner::Account(account) => (
                            hold::unlifted(tx, *account).await?,
                            Some(conduct::reputation_of(tx, *account, now_ms).await?),
                        ),
                        Owner::Bucket(_) | Owner::Key(_) => (Vec::new(), None),
                    };
                    let warnings = quota::warnings_of(tx, &owner, month, &limits).await?;
                    Ok((limits, holds, reputation, warnings))
                })
            })
            .await?;
        let now = accounts.elapsed();
        let is_leased = |at: Duration| now.saturating_sub(at) < accounts.config().reservation_ttl / 3;
        let gateways = if !limits.limits_any(&RATES) {
            None
        } else if self.state().leased_at.is_some_and(is_leased) {
            Some(self.state().gateways)
        } else {
            let gateways = accounts.lease_rates(&self.owner).await?;
            self.state().leased_at = Some(now);
            Some(gateways)
        };
        let mut state = self.state();
        state.limits = limits;
        state.holds = holds.into();
        state.reputation = reputation;
        state.warnings = warnings.into();
        state.gateways = gateways.unwrap_or(1).max(1);
        state.loaded_at = Some(now);
        state.apply(&LimiterClock(Arc::clone(&accounts.config().clock)));
        let view = Arc::new(state.view());
        state.view = Some(Arc::clone(&view));
        Ok(view)
    }

    fn forget(&self) {
        self.state().loaded_at = None;
    }
}

impl State {
    /// Gives the shares of requests and operations the sizes that they must have.
    fn apply(&mut self, clock: &LimiterClock) {
        let gateways = self.gateways;
        match (self.limits.get(Dimension::Requests), &mut self.requests) {
            (None, requests) => *requests = None,
            (Some(limit), Some(share)) => share.resize(limit, gateways, clock),
            (Some(limit), requests) => *requests = Some(RequestShare::new(limit, gateways, clock)),
        }
        match (self.limits.get(Dimension::Operations), &mut self.operations) {
            (None, operations) => *operations = None,
            (Some(limit), Some(share)) => share.resize(limit, gateways),
            (Some(limit), operations) => *operations = Some(OperationShare::new(limit, gateways)),
        }
    }

    fn view(&self) -> View {
        View {
            limits: self.limits,
            holds: Arc::clone(&self.holds),
            reputation: self.reputation,
            warnings: Arc::clone(&self.warnings),
            requests: self.requests.as_ref().map(|share| (share.limit, Arc::clone(&share.limiter))),
            operations: self.operations.as_ref().map(|share| (share.limit, Arc::clone(&share.permits))),
            gateways: self.gateways,
        }
    }
}

/// All controls of one gateway.
#[derive(Default)]
pub(crate) struct ControlRoom {
    by_owner: Mutex<HashMap<Owner, Arc<Controls>>>,
}

impl ControlRoom {
    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Controls>>> {
        self.by_owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, owner: &Owner) -> Arc<Controls> {
        let mut controls = self.lock();
        if let Some(known) = controls.get(owner) {
            return Arc::clone(known);
        }
        let new = Arc::new(Controls::new(owner.clone()));
        controls.insert(owner.clone(), Arc::clone(&new));
        new
    }

    /// Those of an owner for whom this gateway has worked lately.
    pub(crate) fn known(&self, owner: &Owner) -> Option<Arc<Controls>> {
        self.lock().get(owner).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Controls>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn forget(&self, owner: &Owner) {
        if let Some(controls) = self.lock().get(owner) {
            controls.forget();
        }
    }

    /// Drops those that nobody uses and that have nothing to record.
    pub(crate) fn prune(&self, now: Duration) {
        self.lock().retain(|_, controls| {
            Arc::strong_count(controls) > 1
                || now.saturating_sub(controls.state().used_at) < KEPT_FOR
                || !controls.meter.is_idle()
        });
    }
}

impl Accounts {
    /// Says that this gateway serves `owner`; how many do.
    async fn lease_rates(&self, owner: &Owner) -> Result<u64, AccountsError> {
        let (owner, gateway, now_ms) = (owner.encode(), self.gateway_id(), self.now_ms());
        let expires_at_ms = now_ms + self.config().reservation_ttl.as_millis() as u64;
        self.db()
            .write(move |tx| {
                let owner = owner.clone();
                Box::pin(async move { lease(tx, &owner, &gateway, now_ms, expires_at_ms).await })
            })
            .await
    }
}

async fn lease(
    tx: &mut Tx,
    owner: &[u8],
    gateway: &[u8; 16],
    now_ms: u64,
    expires_at_ms: u64,
) -> Result<u64, AccountsError> {
    const END: &str = "DELETE FROM rate_share WHERE owner = $1 AND expires_at_ms <= $2";
    const LEASE: &str = "INSERT INTO rate_share (owner, gateway, expires_at_ms) VALUES ($1, $2, $3)
        ON CONFLICT (owner, gateway) DO UPDATE SET expires_at_ms = excluded.expires_at_ms";
    const COUNT: &str = "SELECT COUNT(*) FROM rate_share WHERE owner = $1";
    tx.execute(END, &[owner.into(), now_ms.into()]).await?;
    tx.execute(LEASE, &[owner.into(), gateway.into(), expires_at_ms.into()]).await?;
    let row = tx.query_opt(COUNT, &[owner.into()]).await?;
    row.map_or(Ok(1), |row| Ok(row.uint(0)?))
}
