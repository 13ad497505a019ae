//! Users, access keys, the key ring, plans, the limits on what an account stores and does, and the metering and billing of it.
//!
//! Invariants:
//! - Secrets are in the database only sealed under the key-encryption key (KEK), which is in a file outside of it and
//!   can be replaced without rewriting any data.
//! - What operators do and are denied is in a log in which an edit or a removal shows.
//! - A revoked key is refused within five seconds by every gateway.
//! - `used + reserved` of a quota never exceeds its limit, with any number of gateways; what a gateway reserved and
//!   did not use comes free when its reservation expires, whatever happened to the gateway.
//! - Every change of what is stored has one event, in the transaction that makes it, and counts once in the rollups.

mod access_key;
mod accounts;
mod admission;
mod audit;
mod billing;
mod cache;
mod clock;
mod conduct;
mod controls;
mod dimension;
mod error;
mod grant;
mod hold;
mod idempotency;
mod identity;
mod kek;
mod key_replacement;
mod keyring;
mod lease;
mod limit;
mod meter;
mod metering;
mod named;
mod named_key;
mod owner;
mod pacer;
mod plan;
mod plan_migration;
mod privacy;
mod quota;
mod reconcile;
mod reservation;
mod rotation;
mod schema;
mod secret;
mod service_level;
mod session;
mod share;
mod subscribers;
mod subscription;
mod usage;
mod user;
mod warning;

pub use access_key::{AccessKey, AccessKeyInfo, Credential, KeyStatus, NewKey};
pub use accounts::{Accounts, AccountsConfig};
pub use admission::{Admission, Direction};
pub use audit::{
    Act, AuditCheck, AuditEntry, AuditFault, AuditFilter, AuditHead, AuditPublicKey, AuditVerdict, Digest,
    NewEntry, Outcome, WitnessedHead,
};
pub use billing::{
    AppliedPrices, BillLetter, BillText, BillingTurn, Charging, CreditNote, DunningPolicy, DunningStage,
    IntentStatus, InvoiceRun, InvoiceStatus, ManualPayments, Notice, Payment, PaymentEvent, PaymentIntent,
    PaymentProvider, PriceVersion, Refund, SandboxPayments, Settlement, StoredInvoice, SubscriptionState,
};
pub use clock::{Clock, SystemClock, time_text};
pub use conduct::{AbuseCase, AbuseKind, AbuseSettings, AbuseStatus, Conduct, Reputation};
pub use dimension::Dimension;
pub use error::AccountsError;
pub use hold::{Effect, Hold, HoldKind, HoldScope, NewHold};
pub use idempotency::{Answer, Claim};
pub use identity::{
    AccountMail, AccountStatus, CaseStatus, Decision, IdentityError, Judgement, LoginSession, MailText,
    ManualProvider, NewLogin, NewRegistration, Proof, RegistrationSettings, VerificationCase,
    VerificationError, VerificationLevel, VerificationProvider, change_text, login_text,
};
pub use kek::{Kek, KekId, KekRole};
pub use keyring::Keyring;
pub use limit::{Limit, LimitChange, LimitSet, Stage};
pub use meter::FLUSH_EVERY;
pub use metering::{
    Freshness, Grain, HourUsage, Measure, Purged, RequestClass, Retention, Traffic, UnmeteredSpan, Usage,
    UsageDrift, UsageReport, Verification,
};
pub use owner::{Month, Owner};
pub use pacer::Pace;
pub use plan::{AppliedPlan, PlanFile, PlanVersion};
pub use plan_migration::{
    Cohort, CohortStanding, MigratedBatch, MigrationRun, MigrationState, NewPlanMigration, PlanMigration,
    PlanMigrationError,
};
pub use privacy::{Dossier, DossierCursor, DossierPart, Erasure, ErasureError, ErasureStatus};
pub use reconcile::{Counter, Drift, Reconciliation};
pub use reservation::Reservation;
pub use rotation::KekKey;
pub use secret::Secret;
pub use service_level::{SeenWindow, ServiceLevel};
pub use session::{NewSession, Session, TemporaryKey};
pub use subscribers::Subscribers;
pub use subscription::Allowance;
pub use usage::{AccountUsage, Standing};
pub use user::User;
pub use warning::{Level, QuotaEvent, Warning};
