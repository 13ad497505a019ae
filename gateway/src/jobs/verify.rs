//! Verifying what is recorded of accounts against what is stored, and forgetting what is old.
//!
//! The drifts are gauges: anything but 0 is a bug; the audit log is intact or not, 1 or 0. They are set by the gateway that
//! verified, with the time: where several run, the newest counts.

use datamesh_accounts::{AccountsError, AuditVerdict, Retention};
use datamesh_catalog::Catalog;

use super::{JobError, Jobs, now_ms};

impl Jobs {
    pub(super) async fn leased_verify(&self) -> Result<(), JobError> {
        self.under_lease("verify", self.verify()).await.map(drop)
    }

    async fn verify(&self) -> Result<(), JobError> {
        let accounts = &self.inner.accounts;
        let quota = accounts.reconcile(Catalog::stored_count()).await?;
        for drift in &quota.drifts {
            tracing::error!(
                owner = %drift.owner, dimension = %drift.dimension, counter = %drift.counter, recorded = drift.recorded,
                counted = drift.counted, "a quota counts what is not there"
            );
        }
        let usage = accounts.verify_usage(None, Catalog::stored_count()).await?;
        for drift in &usage.drifts {
            tracing::error!(
                account = %drift.account, bucket = drift.bucket, measure = drift.measure.name(),
                span = ?drift.span, recorded = %drift.recorded, counted = %drift.counted,
                "metered usage is not what its events say"
            );
        }
        let audit = self.verify_audit().await?;
        metrics::gauge!("datamesh_audit_intact").set(if audit.first_bad.is_none() { 1.0 } else { 0.0 });
        metrics::gauge!("datamesh_quota_drift").set(quota.drifts.len() as f64);
        metrics::gauge!("datamesh_usage_drift").set(usage.drifts.len() as f64);
        metrics::gauge!("datamesh_usage_verified_timestamp_seconds").set((now_ms() / 1000) as f64);
        let config = &self.inner.config;
        let purged = accounts
            .purge(Retention {
                events: config.usage_event_age.duration(),
                hours: config.usage_hour_age.duration(),
                warnings: config.quota_event_age.duration(),
                windows: config.sla_window_age.duration(),
            })
            .await?;
        tracing::debug!(?purged, "forgot what was old of accounts");
        Ok(())
    }

    /// Checks the whole audit log; a fault is logged.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, AccountsError> {
        let verdict = self.inner.accounts.verify_audit().await?;
        if let Some((sequence, fault)) = verdict.first_bad {
            tracing::error!(sequence, %fault, "the audit log is not as it was written");
        }
        Ok(verdict)
    }
}
