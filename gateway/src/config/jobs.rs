//! The section of the background jobs.

use datamesh_node::config::Invalid;
use datamesh_types::TimeSpan;
use serde::Deserialize;

/// An orphan must be older than any chunk that waits for its commit: those are flushed at least this often.
const ORPHAN_AGE_MIN: TimeSpan = TimeSpan::seconds(3600);

/// The audit log forgets by whole days.
const AUDIT_PAYLOAD_AGE_MIN: TimeSpan = TimeSpan::seconds(24 * 3600);

/// So that every window of a service level has more than one.
const PROBE_INTERVAL_MAX: TimeSpan = TimeSpan::seconds(120);

/// Invoices are made of what is kept of their month: all of it, and a day in which they become final.
const MONTH_KEPT: TimeSpan = TimeSpan::seconds(32 * 24 * 3600);

/// `[jobs]`: what gateways do in the background, one of them at a time.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsSection {
    /// How often chunks that are recorded as short are completed. Default: 10s.
    pub repair_interval: TimeSpan,
    /// How often everything that the nodes list is compared with the catalog. Default: 1h.
    pub scan_interval: TimeSpan,
    /// How often garbage is collected. Default: 1m.
    pub gc_interval: TimeSpan,
    /// How long a chunk must have been unreferenced before it is deleted. Default: 24h.
    pub gc_grace: TimeSpan,
    /// How often shards and chunks that no catalog row names are looked for. Default: 24h.
    pub orphan_interval: TimeSpan,
    /// How old such an orphan must be to be deleted. Uploads that take longer would lose data. Default: 48h.
    pub orphan_age: TimeSpan,
    /// How long an upload may stay open before it is aborted. Default: 7d.
    pub upload_age: TimeSpan,
    /// How often uploads and reservations are expired. Default: 1m.
    pub expiry_interval: TimeSpan,
    /// How often accounts are erased whose time has come. Default: 10m.
    pub erasure_interval: TimeSpan,
    /// How often accounts are moved whose plan migration is due. Default: 10m.
    pub plan_migration_interval: TimeSpan,
    /// How often lifecycle rules are applied. Default: 1h.
    pub lifecycle_interval: TimeSpan,
    /// How often messages about changes are delivered. Default: 1s.
    pub delivery_interval: TimeSpan,
    /// How often it is looked whether an inventory is due. Default: 10m.
    pub inventory_interval: TimeSpan,
    /// How often access logs are written. Default: 5m.
    pub access_log_interval: TimeSpan,
    /// How often usage is rolled up. Default: 1m.
    pub rollup_interval: TimeSpan,
    /// How often recorded usage is compared with what is stored, and what is old is forgotten. Default: 1h.
    pub verification_interval: TimeSpan,
    /// How long events of usage are kept after they were rolled up. Default: 7d.
    pub usage_event_age: TimeSpan,
    /// Whether invoices are made by themselves once their month is over. Default: true.
    pub automatic_invoices: bool,
    /// How often it is looked whether a month is over. Default: 1h.
    pub billing_interval: TimeSpan,
    /// How long after the end of their month invoices are drafts, for operators to look. Default: 48h.
    pub invoice_grace: TimeSpan,
    /// How often it is looked whether an invoice is overdue. Default: 1h.
    pub dunning_interval: TimeSpan,
    /// How long after an invoice was due its account cannot write. Default: 7d.
    pub freeze_writes_after: TimeSpan,
    /// How long after an invoice was due its account cannot do anything. Default: 30d.
    pub freeze_after: TimeSpan,
    /// How long after an invoice was due an operator may delete what its account stores. Default: 90d.
    pub deletion_after: TimeSpan,
    /// How long usage is kept by the hour; by the month it is kept for good. At least 32d longer than `invoice_grace`.
    /// Default: 400d.
    pub usage_hour_age: TimeSpan,
    /// How long warnings of limits are kept. Default: 365d.
    pub quota_event_age: TimeSpan,
    /// How long the audit log tells who did something, to what and why, at least a day; that it was done, and the hashes, are
    /// kept for good. Default: 365d.
    pub audit_payload_age: TimeSpan,
    /// How often it is tried whether an object could be written and read, for service levels; at least every two minutes.
    /// Default: 1m.
    pub probe_interval: TimeSpan,
    /// How long what service levels are judged by is kept. Default: 100d.
    pub sla_window_age: TimeSpan,
    /// How long a day of a lifecycle rule lasts: shorter ones are for tests. Default: 24h.
    pub lifecycle_day: TimeSpan,
}

impl Default for JobsSection {
    fn default() -> Self {
        Self {
            repair_interval: TimeSpan::seconds(10),
            scan_interval: TimeSpan::seconds(3600),
            gc_interval: TimeSpan::seconds(60),
            gc_grace: TimeSpan::seconds(24 * 3600),
            orphan_interval: TimeSpan::seconds(24 * 3600),
            orphan_age: TimeSpan::seconds(48 * 3600),
            upload_age: TimeSpan::seconds(7 * 24 * 3600),
            expiry_interval: TimeSpan::seconds(60),
            erasure_interval: TimeSpan::seconds(600),
            plan_migration_interval: TimeSpan::seconds(600),
            lifecycle_interval: TimeSpan::seconds(3600),
            delivery_interval: TimeSpan::seconds(1),
            inventory_interval: TimeSpan::seconds(600),
            access_log_interval: TimeSpan::seconds(300),
            rollup_interval: TimeSpan::seconds(60),
            verification_interval: TimeSpan::seconds(3600),
            usage_event_age: TimeSpan::seconds(7 * 24 * 3600),
            automatic_invoices: true,
            billing_interval: TimeSpan::seconds(3600),
            invoice_grace: TimeSpan::seconds(48 * 3600),
            dunning_interval: TimeSpan::seconds(3600),
            freeze_writes_after: TimeSpan::seconds(7 * 24 * 3600),
            freeze_after: TimeSpan::seconds(30 * 24 * 3600),
            deletion_after: TimeSpan::seconds(90 * 24 * 3600),
            usage_hour_age: TimeSpan::seconds(400 * 24 * 3600),
            quota_event_age: TimeSpan::seconds(365 * 24 * 3600),
            audit_payload_age: TimeSpan::seconds(365 * 24 * 3600),
            probe_interval: TimeSpan::seconds(60),
            sla_window_age: TimeSpan::seconds(100 * 24 * 3600),
            lifecycle_day: TimeSpan::seconds(24 * 3600),
        }
    }
}

impl JobsSection {
    /// # Errors
    /// The first setting that makes no sense.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let intervals = [
            self.repair_interval,
            self.scan_interval,
            self.gc_interval,
            self.orphan_interval,
            self.expiry_interval,
            self.plan_migration_interval,
            self.rollup_interval,
            self.verification_interval,
            self.billing_interval,
            self.dunning_interval,
            self.probe_interval,
        ];
        if intervals.iter().any(|interval| interval.duration().is_zero()) {
            return Err(Invalid::new("jobs", "intervals of at least 1ms"));
        }
        if self.probe_interval > PROBE_INTERVAL_MAX {
            return Err(Invalid::new(
                "jobs.probe_interval",
                "at most 2m: five minutes without a probe count as an outage",
            ));
        }
        let month_kept = MONTH_KEPT.duration() + self.invoice_grace.duration();
        for (name, age) in
            [("jobs.sla_window_age", self.sla_window_age), ("jobs.usage_hour_age", self.usage_hour_age)]
        {
            if age.duration() < month_kept {
                return Err(Invalid::new(
                    name,
                    "at least 32d more than jobs.invoice_grace: invoices are made of it when they become final",
                ));
            }
        }
        if self.audit_payload_age < AUDIT_PAYLOAD_AGE_MIN {
            return Err(Invalid::new(
                "jobs.audit_payload_age",
                "at least 1d: who did what must be seen first",
            ));
        }
        if self.orphan_age < ORPHAN_AGE_MIN {
            return Err(Invalid::new(
                "jobs.orphan_age",
                "at least 1h: younger shards may belong to an upload",
            ));
        }
        Ok(())
    }
}
