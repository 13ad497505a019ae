//! Migrations of cohorts from one plan version to another.

/// Without `from_version` the cohort is on every version older than `to_version` when both plans are the same, else on every
/// version. `ended_at_ms` is when it was done or cancelled.
macro_rules! plan_migration {
    ($text:literal) => {
        concat!(
            "CREATE TABLE plan_migration (id ",
            $text,
            " PRIMARY KEY, from_plan ",
            $text,
            " NOT NULL, from_version BIGINT, subscribed_before_ms BIGINT, to_plan ",
            $text,
            " NOT NULL, to_version BIGINT NOT NULL, scheduled_at_ms BIGINT NOT NULL,
                due_at_ms BIGINT NOT NULL, state TEXT NOT NULL, moved BIGINT NOT NULL, ended_at_ms BIGINT);
             CREATE INDEX plan_migration_due ON plan_migration (due_at_ms, id) WHERE state = 'scheduled';
             CREATE INDEX plan_migration_age ON plan_migration (scheduled_at_ms, id);
             CREATE INDEX subscription_plan ON subscription (plan, version, account);"
        )
    };
}

pub(super) const ON_SQLITE: &str = plan_migration!("TEXT");
pub(super) const ON_POSTGRES: &str = plan_migration!("TEXT COLLATE \"C\"");
