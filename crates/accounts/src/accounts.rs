//! [`Accounts`]: the entry to everything here, and its upkeep.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use datamesh_db::Db;
use datamesh_types::{AccountId, MIB};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tracing::warn;

use crate::access_key::Credentials;
use crate::audit::{Act, AuditKey, Witness};
use crate::cache::Cache;
use crate::controls::ControlRoom;
use crate::identity::{LoginKeys, ManualProvider, Passwords, RegistrationSettings, VerificationProvider};
use crate::lease::Leases;
use crate::meter::FLUSH_EVERY;
use crate::metering::{EventSource, LastRollup, StorageEvent, TrafficLog};
use crate::owner::{Book, Month, Owner};
use crate::session::{SESSIONS_KEPT, SessionKeys};
use crate::{
    AbuseSettings, AccountsError, Clock, Keyring, PaymentProvider, Session, SystemClock, billing, schema,
};

/// Names of accounts kept in memory.
const NAMES_MAX: usize = 16_384;

/// How reservations are taken, and the clock.
#[derive(Clone)]
pub struct AccountsConfig {
    /// Bytes that a gateway reserves in advance for an account far from its limit: at least these, and up to 64 times as
    /// many where they are less than a 1,024th of the room.
    pub lease_bytes: u64,
    /// Objects likewise.
    pub lease_objects: u64,
    /// After this long without renewal a reservation is void: its gateway is gone. It is renewed three times as
    /// often.
    pub reservation_ttl: Duration,
    /// Whether usage is metered. Where it is not, nobody can be billed. The same on all gateways of a database.
    pub metering: bool,
    /// How long a request waits for its turn when its owner is over a rate, before it is refused.
    pub queue_time: Duration,
    /// The file for the newest head of the audit log that this gateway has signed. `None`: it keeps none, and a log that
    /// was set back together with its head looks whole.
    pub audit_head_file: Option<PathBuf>,
    /// Who may register by themselves.
    pub registration: RegistrationSettings,
    /// What abuse leads to.
    pub abuse: AbuseSettings,
    /// Who verifies people.
    pub verification: Arc<dyn VerificationProvider>,
    /// Who can be asked for payments.
    pub payment_providers: Vec<Arc<dyn PaymentProvider>>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            lease_bytes: 64 * MIB,
            lease_objects: 64,
            reservation_ttl: Duration::from_mins(1),
            metering: true,
            queue_time: Duration::from_secs(5),
            audit_head_file: None,
            registration: RegistrationSettings::default(),
            abuse: AbuseSettings::default(),
            verification: Arc::new(ManualProvider),
            payment_providers: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Users, keys and limits. Clones share caches and reservations.
#[derive(Clone)]
pub struct Accounts {
    shared: Arc<Shared>,
    /// What is done in whose name, through this handle.
    act: Option<Arc<Act>>,
}

struct Shared {
    db: Db,
    keyring: Keyring,
    credentials: Credentials,
    names: Cache<AccountId, (Arc<str>, Duration)>,
    session_keys: OnceCell<SessionKeys>,
    sessions: Cache<(String, String), Arc<Session>>,
    leases: Leases,
    controls: ControlRoom,
    last_rollup: LastRollup,
    gateway_id: [u8; 16],
    events: EventSource,
    traffic: TrafficLog,
    audit_key: Arc<AuditKey>,
    witness: Witness,
    passwords: Passwords,
    login_keys: LoginKeys,
    /// For what ends on a thread of the database's, where there is none.
    runtime: Handle,
    config: AccountsConfig,
}

impl Accounts {
    /// Opens the accounts in the database of `keyring`, which is `db`. Starts a task that renews reservations for as
    /// long as a clone lives.
    pub async fn open(db: Db, keyring: Keyring, config: AccountsConfig) -> Result<Self, AccountsError> {
        db.migrate(schema::COMPONENT, schema::MIGRATIONS).await?;
        let every = config.reservation_ttl / 3;
        let mut gateway_id = [0; 16];
        aws_lc_rs::rand::fill(&mut gateway_id).map_err(|_| AccountsError::Random)?;
        let audit_key = Arc::new(AuditKey::new(&*keyring.audit_key().await?));
        let passwords = Passwords::new(keyring.password_key().await?)?;
        let login_keys = LoginKeys::new(&*keyring.login_key().await?);
        let shared = Shared {
            db,
            keyring,
            credentials: Credentials::new(),
            names: Cache::new(NAMES_MAX),
            session_keys: OnceCell::new(),
            sessions: Cache::new(SESSIONS_KEPT),
            leases: Leases::default(),
            controls: ControlRoom::default(),
            last_rollup: LastRollup::default(),
            gateway_id,
            events: EventSource::new(gateway_id),
            traffic: TrafficLog::default(),
            audit_key,
            witness: Witness::new(config.audit_head_file.clone()),
            passwords,
            login_keys,
            runtime: Handle::current(),
            config,
        };
        let accounts = Self { shared: Arc::new(shared), act: None };
        accounts.consult_witness().await?;
        accounts.ship_plans().await?;
        billing::open(&accounts).await?;
        tokio::spawn(upkeep(Arc::downgrade(&accounts.shared), every));
        tokio::spawn(flush(Arc::downgrade(&accounts.shared)));
        Ok(accounts)
    }

    pub(crate) fn db(&self) -> &Db {
        &self.shared.db
    }

    /// The accounts of a new database, under a key of their own.
    #[cfg(test)]
    pub(crate) async fn in_scratch(db: Db) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kek = crate::Kek::load_or_create(folder.path().join("kek")).unwrap();
        let keyring = Keyring::open(db.clone(), kek).await.unwrap();
        Self::open(db, keyring, AccountsConfig::default()).await.unwrap()
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// The key ring that its secrets are sealed with.
    pub fn keyring(&self) -> &Keyring {
        &self.shared.keyring
    }

    pub(crate) fn with_act(&self, act: Arc<Act>) -> Self {
        Self { shared: Arc::clone(&self.shared), act: Some(act) }
    }

    pub(crate) fn act(&self) -> Option<&Act> {
        self.act.as_deref()
    }

    pub(crate) fn audit_key(&self) -> Arc<AuditKey> {
        Arc::clone(&self.shared.audit_key)
    }

    pub(crate) fn witness(&self) -> &Witness {
        &self.shared.witness
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.shared.passwords
    }

    pub(crate) fn login_keys(&self) -> &LoginKeys {
        &self.shared.login_keys
    }

    pub(crate) fn verification_provider(&self) -> &dyn VerificationProvider {
        &*self.shared.config.verification
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.shared.credentials
    }

    pub(crate) fn session_key_cell(&self) -> &OnceCell<SessionKeys> {
        &self.shared.session_keys
    }

    pub(crate) fn sessions(&self) -> &Cache<(String, String), Arc<Session>> {
        &self.shared.sessions
    }

    pub(crate) fn names(&self) -> &Cache<AccountId, (Arc<str>, Duration)> {
        &self.shared.names
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.shared.leases
    }

    pub(crate) fn controls(&self) -> &ControlRoom {
        &self.shared.controls
    }

    pub(crate) fn last_rollup(&self) -> &LastRollup {
        &self.shared.last_rollup
    }

    /// What this gateway leases rates under; another one after each start.
    pub(crate) fn gateway_id(&self) -> [u8; 16] {
        self.shared.gateway_id
    }

    /// Names this gateway's events.
    pub(crate) fn events(&self) -> &EventSource {
        &self.shared.events
    }

    /// A name for a change of what is stored, unless nothing is metered.
    pub(crate) fn storage_event(&self, at_ms: u64) -> Option<StorageEvent> {
        let events = self.events();
        let event = || StorageEvent { source: events.id(), sequence: events.next(), at_ms };
        self.config().metering.then(event)
    }

    pub(crate) fn traffic(&self) -> &TrafficLog {
        &self.shared.traffic
    }

    /// Forgets what is in memory of an owner's limits.
    pub(crate) fn limits_changed(&self, owner: &Owner) {
        self.controls().forget(owner);
        let month = Month::of(self.now_ms());
        for book in [Book::Stored(owner.clone()), Book::Moved(owner.clone(), month)] {
            self.leases().forget_unlimited(&book);
        }
    }

    pub(crate) fn config(&self) -> &AccountsConfig {
        &self.shared.config
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.config.clock.now_ms()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.config.clock.elapsed()
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts(..)")
    }
}

async fn upkeep(shared: Weak<Shared>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(shared) = shared.upgrade() else { return };
        let accounts = Accounts { shared, act: None };
        if let Err(error) = accounts.renew_reservations().await {
            warn!(%error, "reservations could not be renewed; the next attempt follows");
        }
    }
}

async fn flush(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(FLUSH_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        Accounts { shared, act: None }.flush_meters().await;
    }
}
