//! Verifying what is recorded of accounts against what is stored, and forgetting what is old.
//!
//! The drifts are gauges: anything but 0 is a bug; the audit log is intact or not, 1 or 0. They are set by the gateway that
//! verified, with the time: where several run, the newest counts. Of the audit log what was appended since the last time is
//! read, and all of it once a day.

use std::time::Duration;

use datamesh_accounts::{AccountsError, AuditHead, AuditVerdict, Retention};
use datamesh_catalog::Catalog;

use super::{JobError, Jobs, now_ms};

/// How often the audit log is read whole.
const WHOLE_AUDIT_EVERY: Duration = Duration::from_hours(24);

/// How far this gateway has found the audit log to be as it was written.
pub(super) struct VerifiedAudit {
    head: AuditHead,
    /// When all of it was read, milliseconds since 1970.
    whole_at_ms: u64,
}

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
        self.verify_usage().await?;
        let audit = self.verify_audit_further().await?;
        metrics::gauge!("datamesh_audit_intact").set(if audit.first_bad.is_none() { 1.0 } else { 0.0 });
        metrics::gauge!("datamesh_quota_drift").set(quota.drifts.len() as f64);
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
        let emptied = accounts.expire_audit(config.audit_payload_age.duration()).await?;
        tracing::debug!(?purged, emptied, "forgot what was old of accounts");
        Ok(())
    }

    /// Where nothing is metered there is nothing to verify.
    async fn verify_usage(&self) -> Result<(), AccountsError> {
        let usage = match self.inner.accounts.verify_usage(None, Catalog::stored_count()).await {
            Err(AccountsError::NotMetered) => return Ok(()),
            found => found?,
        };
        for drift in &usage.drifts {
            tracing::error!(
                account = %drift.account, bucket = drift.bucket, measure = drift.measure.name(),
                span = ?drift.span, recorded = %drift.recorded, counted = %drift.counted,
                "metered usage is not what its events say"
            );
        }
        metrics::gauge!("datamesh_usage_drift").set(usage.drifts.len() as f64);
        Ok(())
    }

    /// Checks the whole audit log; a fault is logged.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, AccountsError> {
        let verdict = self.inner.accounts.verify_audit().await?;
        tell(&verdict);
        Ok(verdict)
    }

    /// Checks what was appended to the audit log since the last time; all of it when that is too long ago, and for as long
    /// as it has a fault.
    async fn verify_audit_further(&self) -> Result<AuditVerdict, AccountsError> {
        let mut verified = self.inner.verified_audit.lock().await;
        let started_ms = now_ms();
        let known = verified.take().filter(|known| {
            started_ms.saturating_sub(known.whole_at_ms) < WHOLE_AUDIT_EVERY.as_millis() as u64
        });
        let before = known.as_ref().map(|known| &known.head);
        let (verdict, head) = self.inner.accounts.verify_audit_after(before).await?;
        tell(&verdict);
        if verdict.first_bad.is_none() {
            let whole_at_ms = known.map_or(started_ms, |known| known.whole_at_ms);
            *verified = Some(VerifiedAudit { head, whole_at_ms });
        }
        Ok(verdict)
    }
}

fn tell(verdict: &AuditVerdict) {
    if let Some((sequence, fault)) = verdict.first_bad {
        tracing::error!(sequence, %fault, "the audit log is not as it was written");
    }
}
