//! Background jobs: repair, garbage collection, the sweep for orphans, expiry, lifecycle rules,
//! delivery of messages, inventories, rollups of usage and their verification, invoices, dunning, probes,
//! erasures, plan migrations.
//!
//! Any number of gateways may run; a lease in SQL sees to it that each job has one of them at a time. A lease only
//! spares double work: every job bears running twice, and dying anywhere.

mod bill;
mod collect;
mod configuration;
mod deliver;
mod dun;
mod erase;
mod expire;
mod inventory;
mod lease;
mod lifecycle;
mod migrate;
mod probe;
mod relocate;
mod repair;
mod rollup;
mod sweep;
mod verify;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datamesh_accounts::{Accounts, AccountsError};
use datamesh_backend::BackendError;
use datamesh_catalog::{Catalog, CatalogError};
use datamesh_cluster::ClusterError;
use datamesh_types::TimeSpan;
use futures::future::BoxFuture;
use s3s::S3Error;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::JobsSection;
use crate::events::Webhooks;
use crate::holdings::Holdings;
use crate::lifecycle::Calendar;
use crate::row_key::RowError;
use crate::s3::S3Gateway;

pub use collect::GarbageReport;
pub(crate) use configuration::configuration;
pub use lifecycle::{LifecyclePass, LifecycleReport};
pub use relocate::Mover;
use verify::VerifiedAudit;

/// A job failed; it is tried again at its next turn.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The accounts.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// What a row says of a content.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A bucket's stored configuration can't be read.
    #[error("the configuration of bucket {bucket:?} cannot be read: {source}")]
    Configuration {
        /// The bucket.
        bucket: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The bucket that an inventory is written to is gone, or belongs to another account now.
    #[error("bucket {bucket:?} is no place for an inventory any more")]
    NoTarget {
        /// The bucket.
        bucket: String,
    },
    /// There is no such inventory.
    #[error("bucket {bucket:?} has no such inventory")]
    NoInventory {
        /// The bucket.
        bucket: String,
    },
    /// An object could not be written.
    #[error("could not write an object: {source}")]
    Deposit {
        /// What the S3 service says.
        source: S3Error,
    },
    /// A file could not be compressed.
    #[error("could not compress a file: {0}")]
    Compress(#[from] io::Error),
    /// A chunk lies in a backend that is no longer configured.
    #[error("backend {name:?} is not configured")]
    UnknownBackend {
        /// Its name.
        name: String,
    },
    /// There is no mesh to repair.
    #[error("no backend of this gateway is on the mesh")]
    NoMesh,
    /// Another gateway runs the job.
    #[error("another gateway is running this job")]
    Elsewhere,
}

/// The jobs of one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Catalog,
    accounts: Accounts,
    holdings: Holdings,
    config: JobsSection,
    /// Names this process in leases.
    holder: String,
    /// At most one repair pass at a time in this process; an operator's waits for the background's.
    repairing: Mutex<()>,
    collecting: Mutex<()>,
    ageing: Mutex<()>,
    /// `None` before the audit log was read, and after a fault.
    verified_audit: Mutex<Option<VerifiedAudit>>,
    lifecycle: LifecyclePass,
    webhooks: Webhooks,
    /// Writes inventories.
    gateway: S3Gateway,
}

impl Jobs {
    /// Jobs that do not run yet.
    pub fn new(gateway: S3Gateway, holdings: Holdings, config: JobsSection) -> Self {
        let (catalog, accounts) = (gateway.catalog.clone(), gateway.accounts.clone());
        let lifecycle = LifecyclePass {
            catalog: catalog.clone(),
            accounts: accounts.clone(),
            mover: Mover {
                catalog: catalog.clone(),
                classes: gateway.classes.clone(),
                backends: Arc::clone(&holdings.backends),
            },
            calendar: Calendar::with_day_ms(config.lifecycle_day.duration().as_millis() as u64),
        };
        let inner = Inner {
            catalog,
            accounts,
            holdings,
            config,
            holder: datamesh_types::SealedId::random().to_string(),
            repairing: Mutex::new(()),
            collecting: Mutex::new(()),
            ageing: Mutex::new(()),
            verified_audit: Mutex::new(None),
            lifecycle,
            webhooks: gateway.webhooks.clone(),
            gateway,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts all of them; they end at `stop`.
    pub fn start(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        let config = &self.inner.config;
        let mut jobs: Vec<(&'static str, TimeSpan, Job)> = vec![
            ("collect", config.gc_interval, |jobs| Box::pin(jobs.leased_collect())),
            ("sweep", config.orphan_interval, |jobs| Box::pin(jobs.leased_sweep())),
            ("expire", config.expiry_interval, |jobs| Box::pin(jobs.leased_expire())),
            ("deliver", config.delivery_interval, |jobs| Box::pin(jobs.leased_deliver())),
            ("inventory", config.inventory_interval, |jobs| Box::pin(jobs.leased_inventory())),
            ("lifecycle", config.lifecycle_interval, |jobs| Box::pin(jobs.leased_lifecycle())),
            ("erase", config.erasure_interval, |jobs| Box::pin(jobs.leased_erase())),
            ("migrate", config.plan_migration_interval, |jobs| Box::pin(jobs.leased_migrate())),
            ("rollup", config.rollup_interval, |jobs| Box::pin(jobs.leased_roll_up())),
            ("bill", config.billing_interval, |jobs| Box::pin(jobs.leased_bill())),
            ("probe", config.probe_interval, |jobs| Box::pin(jobs.leased_probe())),
            ("dun", config.dunning_interval, |jobs| Box::pin(jobs.leased_dun())),
            ("verify", config.verification_interval, |jobs| Box::pin(jobs.leased_verify())),
        ];
        if self.inner.holdings.mesh.is_some() {
            jobs.push(("usage", config.repair_interval, |jobs| Box::pin(jobs.refresh_usage())));
            jobs.push(("repair", config.repair_interval, |jobs| Box::pin(jobs.leased_repair(false))));
            jobs.push(("scan", config.scan_interval, |jobs| Box::pin(jobs.leased_repair(true))));
        }
        for (name, interval, job) in jobs {
            let (jobs, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(jobs.run_every(name, interval.duration(), job)).await;
            });
        }
    }

    /// Runs `job` every `interval`, first after one interval; a failure is logged and the next turn tries again.
    async fn run_every(&self, name: &'static str, interval: Duration, job: Job) {
        loop {
            tokio::time::sleep(interval).await;
            let result = job(self).await;
            let label = if result.is_ok() { "ok" } else { "failed" };
            metrics::counter!("datamesh_job_runs", "job" => name, "result" => label).increment(1);
            if let Err(error) = result {
                tracing::warn!(job = name, error = %datamesh_node::one_line(&error), "a job failed");
            }
        }
    }
}

/// One turn of a job.
type Job = for<'j> fn(&'j Jobs) -> BoxFuture<'j, Result<(), JobError>>;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
