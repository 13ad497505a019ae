//! Expiry: uploads that nobody completed, completed ones that need no longer be remembered, reservations whose
//! gateway died, answers to requests that are no longer repeated, cases of abuse that held an account.

use super::{JobError, Jobs, now_ms};

/// Uploads per query.
const PAGE: usize = 100;
/// How long Complete may be repeated after it succeeded.
const COMPLETED_KEPT_MS: u64 = 24 * 3600 * 1000;

impl Jobs {
    pub(super) async fn leased_expire(&self) -> Result<(), JobError> {
        self.under_lease("expire", self.expire()).await.map(drop)
    }

    async fn expire(&self) -> Result<(), JobError> {
        let now = now_ms();
        let begun_before = now.saturating_sub(self.inner.config.upload_age.duration().as_millis() as u64);
        let completed_before = now.saturating_sub(COMPLETED_KEPT_MS);
        // A legal hold keeps uploads, too.
        let hook = self.inner.accounts.deletion_hook();
        let expired =
            self.inner.catalog.expire_uploads(begun_before, completed_before, PAGE, now, hook).await?;
        if expired > 0 {
            tracing::info!(expired, "expired uploads");
        }
        self.inner.catalog.forget_restored(now).await?;
        self.inner.accounts.expire_reservations().await?;
        let lifted = self.inner.accounts.review_abuse().await?;
        if lifted > 0 {
            tracing::info!(lifted, "lifted holds of accounts whose cases of abuse have expired");
        }
        self.inner.accounts.forget_answers().await?;
        Ok(())
    }
}
